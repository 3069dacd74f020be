//! Random graphs with their inputs: every kind of node and sink, in awkward shapes.

use strait::graph::{Distribution, Expr, Graph, NodeId, Over, Reduction, Shape, Sink, Tensor};
use strait::internals::graph::{Access, Scalars};
use strait::internals::random::philox;
use strait::reference::Environment;

use crate::common::values;

/// Numbers that depend on a seed alone.
pub struct Dice {
    seed: u32,
    rolled: u32,
}

impl Dice {
    pub fn new(seed: u32) -> Dice {
        Dice { seed, rolled: 0 }
    }

    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.rolled += 1;
        philox([self.rolled, 0, 0, 0], [self.seed, 0])[0] as usize % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }
}

/// Rows of the resident data set.
pub const DATA_ROWS: usize = 21;
/// No node has more elements.
const LARGEST: usize = 3000;

/// A graph in the making.
struct Maker {
    dice: Dice,
    graph: Graph,
    nodes: Vec<NodeId>,
    rows: usize,
}

/// A random graph and everything it reads. All its values are moderate.
pub fn random_graph(seed: u32) -> (Graph, Environment<f32>) {
    let mut dice = Dice::new(seed);
    let shapes: [&[usize]; 16] = [
        &[5],
        &[4],
        &[8],
        &[3, 5],
        &[5, 3],
        &[4, 8],
        &[5, 1],
        &[1],
        &[],
        &[2, 3, 4],
        &[8, 8],
        &[6],
        &[2, 1, 4],
        &[3, 4],
        &[1, 3, 1],
        &[2, 3, 1, 4],
    ];
    let tensor = |(i, dims): (usize, &&[usize])| Tensor { name: format!("t{i}"), shape: Shape::fixed(dims) };
    let params: Vec<Tensor> = shapes.iter().enumerate().map(tensor).collect();
    let constants: Vec<Tensor> = params.iter().skip(dice.roll(6)).step_by(3).cloned().collect();
    let rows = 1 + dice.roll(9);
    let draw = |from: u32, tensors: &[Tensor]| -> Vec<Vec<f32>> {
        (from..).zip(tensors).map(|(i, t)| values(seed * 100 + i, t.shape.elements(1), (-1.0, 1.0))).collect()
    };
    let widths = [dice.pick(&[5, 8]), dice.pick(&[6, 12, 1])];
    let width = dice.pick(&[4, 7]);
    let env = Environment {
        rows,
        inputs: (50..).zip(widths).map(|(i, w)| values(seed * 100 + i, rows * w, (-1.0, 1.0))).collect(),
        data: values(seed * 100 + 60, DATA_ROWS * width, (-1.0, 1.0)),
        first_row: dice.roll(DATA_ROWS - rows),
        epoch: 3,
        params: draw(0, &params),
        constants: draw(20, &constants),
        table: values(seed * 100 + 61, 4, (0.1, 1.0)),
        seed: u64::from(seed) << 20,
        step: 0,
        ..Environment::default()
    };
    let scalars = ["a", "b", "c", "d"];
    let mut graph = Graph::new(params, constants).with_scalars(Scalars::new(scalars).unwrap());
    let mut nodes = vec![graph.input(0, widths[0]), graph.input(1, widths[1])];
    nodes.push(graph.gather(width, dice.roll(2) == 0));
    nodes.extend((0..shapes.len()).map(|i| graph.param(i).expect("a parameter")));
    nodes.push(graph.constant(0).expect("a constant"));
    nodes.push(graph.scalar(scalars[dice.roll(4)]).unwrap());
    let mut maker = Maker { dice, graph, nodes, rows };
    for _ in 0..6 + maker.dice.roll(20) {
        maker.grow();
    }
    maker.sinks();
    (maker.graph, env)
}

impl Maker {
    /// A node, more often a late one.
    fn any(&mut self) -> NodeId {
        let (a, b) = (self.dice.roll(self.nodes.len()), self.dice.roll(self.nodes.len()));
        self.nodes[a.max(b)]
    }

    fn grow(&mut self) {
        let made = match self.dice.roll(12) {
            0..=4 => self.map(),
            5..=6 => self.reduce(),
            7..=8 => self.matmul(),
            9..=10 => self.columns(),
            _ => self.view(),
        };
        self.nodes.extend(made);
    }

    fn map(&mut self) -> Option<NodeId> {
        let count = 1 + self.dice.roll(3);
        let mut inputs = Vec::new();
        let mut shape = Shape::scalar();
        for _ in 0..30 {
            let next = self.any();
            if let Some(common) = shape.broadcast(self.graph.shape(next)) {
                let fits = |id: &NodeId| Access::new(self.graph.shape(*id), &common).is_some();
                if fits(&next) && inputs.iter().all(fits) && common.elements(self.rows) <= LARGEST {
                    inputs.push(next);
                    shape = common;
                }
            }
            if inputs.len() == count {
                break;
            }
        }
        let x = |i: usize| Expr::input(i.min(inputs.len() - 1));
        let expr = match self.dice.roll(8) {
            0 => (x(0) + x(1) * x(2)).tanh(),
            1 => (x(0) - x(1)).sin() * x(2),
            2 => x(0).max(x(1)).min(1.5),
            3 => x(0) * 0.5 + 0.25,
            4 => (x(0) * x(1)).sigmoid() - 0.5,
            5 => x(0).if_positive(x(0) * x(1), 0.0) + x(2) * 0.5,
            6 => x(0) / Expr::rows() + x(1) * (Expr::random(Distribution::Uniform, self.dice.roll(5) as u32) - 0.5),
            _ => x(0) / (1.0 + x(1).square()),
        };
        Some(self.graph.map_to(expr, &inputs, shape).expect("a map"))
    }

    fn reduce(&mut self) -> Option<NodeId> {
        let (op, over) = (self.dice.pick(&Reduction::ALL), self.dice.pick(&Over::ALL));
        let input = self.any();
        let reduced = self.graph.reduce(op, over, input);
        // Sums grow. All such factors are powers of two: drivers merge factors that follow each other in one kernel, which
        // changes no bits then.
        Some(self.graph.map([reduced], |[r]| r * 0.25).expect("a map"))
    }

    fn matmul(&mut self) -> Option<NodeId> {
        for _ in 0..60 {
            let (a, b) = (self.any(), self.any());
            let (ta, tb) = (self.dice.roll(2) == 0, self.dice.roll(2) == 0);
            if let Ok(product) = self.graph.matmul(a, b, ta, tb) {
                let node = self.graph.map([product], |[p]| p * 0.5).expect("a map");
                return (self.graph.shape(product).elements(self.rows) <= LARGEST).then_some(node);
            }
        }
        None
    }

    fn view(&mut self) -> Option<NodeId> {
        let input = self.any();
        let shape = self.graph.shape(input).clone();
        let elements = shape.elements(1);
        let divisors: Vec<usize> = (1..=elements).filter(|d| elements.is_multiple_of(*d)).collect();
        let columns = self.dice.pick(&divisors);
        let dims = if self.dice.roll(3) == 0 { vec![elements] } else { vec![elements / columns, columns] };
        Some(self.graph.view(input, Shape { dims, ..shape }).expect("a view"))
    }

    /// A slice, a pad, a shift, or nothing but zeros.
    fn columns(&mut self) -> Option<NodeId> {
        let input = self.any();
        let (from, width) = (self.graph.shape(input).columns(), 1 + self.dice.roll(12));
        let offset = self.dice.roll(from + width + 1) as isize - width as isize;
        let columns = self.graph.columns(input, offset, width).ok()?;
        (self.graph.shape(columns).elements(self.rows) <= LARGEST).then_some(columns)
    }

    /// Results for the caller, some of them twice; terms; the gradients of a loss.
    fn sinks(&mut self) {
        for i in 0..1 + self.dice.roll(4) {
            let node = self.any();
            self.graph.sink(Sink::Output(i), node);
            if self.dice.roll(5) == 0 {
                self.graph.sink(Sink::Output(10 + i), node);
            }
        }
        // Every batch is read by somebody.
        for i in 0..3 {
            let top = self.graph.reduce(Reduction::Max, Over::Columns, self.nodes[i]);
            self.graph.sink(Sink::Output(20 + i), top);
        }
        let node = self.any();
        let loss = self.graph.sum_all(node);
        let loss = self.graph.map([loss], |[l]| l * 0.125).expect("a map");
        self.graph.term("loss", loss);
        if self.dice.roll(3) > 0 {
            let params: Vec<NodeId> = (0..self.graph.nodes().count()).filter_map(|i| self.param(i)).collect();
            let gradients = self.graph.gradient(loss, &params).expect("gradients");
            gradients.into_iter().enumerate().for_each(|(i, g)| self.graph.sink(Sink::Gradient(i), g));
        }
    }

    fn param(&self, at: usize) -> Option<NodeId> {
        let (id, node) = self.graph.nodes().nth(at)?;
        matches!(node.op, strait::internals::graph::Op::Param(_)).then_some(id)
    }
}
