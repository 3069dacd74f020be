//! Phases on cached codes of a part that stays as it is.

use super::*;

/// Codes of `w`, which stays as it is.
pub(crate) fn code(g: &mut Graph, shuffled: bool) -> NodeId {
    let (x, w) = (g.gather(COLUMNS, shuffled), g.param(0).unwrap());
    let code = g.matmul(x, w, false, false).unwrap();
    g.map([code], |[h]| h.tanh()).unwrap()
}

fn inner() -> TensorSet {
    TensorSet::new("inner", vec![tensor("u", &[3, 2]), tensor("t", &[2, 3])])
}

/// An autoencoder of codes, whose tensors are numbered from `first` on.
pub(crate) fn of_codes(mut g: Graph, code: NodeId, first: usize) -> Step {
    let (u, t) = (g.param(first).unwrap(), g.param(first + 1).unwrap());
    let h = g.matmul(code, u, false, false).unwrap();
    let h = g.map([h], |[h]| h.tanh() + 0.05 * Expr::random(Distribution::Normal, 4)).unwrap();
    let r = g.matmul(h, t, false, false).unwrap();
    let rows = g.map([r, code], |[r, x]| (r - x).square()).unwrap();
    let error = g.batch_mean(rows).unwrap();
    g.term("error", error);
    sink(&mut g, error, &[first, first + 1]).unwrap();
    Step::new("inner", g, [update(&[Set(usize::from(first > 0))], Optimizer::ADAM, 0.03, Some(0.2))])
}

pub(crate) fn outer_and_inner() -> (Run, Vec<Vec<f32>>) {
    let mut run = Run::new(vec![TensorSet::new("outer", vec![tensor("w", &[COLUMNS, 3])]), inner()], vec![]).unwrap();
    run.seed = 9;
    let params = [15, 6, 6].iter().enumerate().map(|(i, &count)| values(40 + i as u32, count, (-0.8, 0.8)));
    (run, params.collect())
}

/// A phase on cached codes gives the bits of one that computes them in every step, and those of a model of its own that is
/// trained on the codes; also where they come in chunks.
#[test]
fn cached_codes_are_those_that_are_computed_again() {
    let gpu = gpu();
    let ended = |run: Run, params: &[Vec<f32>], data: Data| {
        let mut trainer = Trainer::new(&gpu, run).unwrap();
        trainer.set_parameters(params).unwrap();
        let fit = trainer.fit(data).unwrap();
        (trainer.parameters().unwrap(), fit.history[0].terms.clone())
    };
    for (shuffled, budget) in [(true, 1 << 20), (false, 1 << 20), (false, 4 * 3 * 4)] {
        let (mut run, params) = outer_and_inner();
        run.data_budget = budget;
        let phase =
            |step: Step, cached: Option<Graph>| Phase { batch: 4, epochs: 6, cached, ..Phase::new("inner", [step]) };
        let mut cached = run.clone();
        let mut codes = cached.graph();
        let rows = code(&mut codes, false);
        codes.sink(Sink::Output(0), rows);
        let mut g = cached.graph();
        let x = g.gather(3, shuffled);
        cached.phases = vec![phase(of_codes(g, x, 1), Some(codes.clone()))];
        let (found, terms) = ended(cached, &params, data());
        assert!(found[0] == params[0] && found[1] != params[1]);
        // In every step, from the rows themselves.
        let mut again = run.clone();
        again.data_budget = 1 << 20;
        let mut g = again.graph();
        let x = code(&mut g, shuffled);
        again.phases = vec![phase(of_codes(g, x, 1), None)];
        let (expected, _) = ended(again, &params, data());
        assert_same(&gpu, &found, &expected, &format!("computed again, shuffled: {shuffled}, budget {budget}"));
        // By a model that knows nothing of the other.
        let evaluator = Evaluator::new(&gpu, &codes, ROWS).unwrap();
        evaluator.params(&params).unwrap();
        evaluator.data(data().values()).unwrap();
        evaluator.run(State::once(ROWS, 0)).unwrap();
        let rows = Data::from_rows(3, evaluator.sink(Sink::Output(0), ROWS).unwrap()).unwrap();
        let mut apart = Run::new(vec![inner()], vec![]).unwrap();
        (apart.seed, apart.data_budget) = (run.seed, budget);
        let mut g = apart.graph();
        let x = g.gather(3, shuffled);
        apart.phases = vec![phase(of_codes(g, x, 0), None)];
        let (expected, told) = ended(apart, &params[1..], rows);
        assert!(found[1..] == expected[..], "apart, shuffled: {shuffled}, budget {budget}");
        assert_eq!(terms, told);
    }
    // What cannot be computed once.
    let refused = |build: &dyn Fn(&mut Graph) -> NodeId, outputs: usize| {
        let (mut run, _) = outer_and_inner();
        let mut g = run.graph();
        let rows = build(&mut g);
        (0..outputs).for_each(|i| g.sink(Sink::Output(i), rows));
        let mut step = run.graph();
        let x = step.gather(3, true);
        run.phases = vec![Phase { cached: Some(g), ..Phase::new("inner", [of_codes(step, x, 1)]) }];
        match run.check() {
            Err(Error::Spec { field, value, .. }) => (field, value),
            other => panic!("{other:?}"),
        }
    };
    let field = || "phases[\"inner\"].cached".to_string();
    assert_eq!(refused(&|g| code(g, true), 1), (field(), "shuffled rows".into()));
    assert_eq!(refused(&|g| code(g, false), 2), (field(), "2 results".into()));
    assert_eq!(refused(&|g| code(g, false), 0), (field(), "0 results".into()));
    let changed = |g: &mut Graph| {
        let (h, u) = (code(g, false), g.param(1).unwrap());
        let sum = g.sum_all(u);
        g.map([h, sum], |[h, s]| h + s).unwrap()
    };
    assert_eq!(refused(&changed, 1), (field(), "u, which the phase changes".into()));
    let drawn = |g: &mut Graph| {
        let h = code(g, false);
        g.map([h], |[h]| h + Expr::random(Distribution::Normal, 1)).unwrap()
    };
    assert!(refused(&drawn, 1).1.ends_with("which draws"));
    let scheduled = |g: &mut Graph| {
        let (h, rate) = (code(g, false), g.scalar("learning_rate").unwrap());
        g.map([h, rate], |[h, r]| h * r).unwrap()
    };
    assert_eq!(refused(&scheduled, 1), (field(), "a scalar, which changes".into()));
    let wide = |g: &mut Graph| g.gather(COLUMNS, false);
    assert_eq!(refused(&wide, 1), ("phases[\"inner\"].steps".into(), "rows of 3 columns".into()));
    assert_eq!(refused(&|g| g.input(0, 3), 1), (field(), "input 0, which nobody writes".into()));
}
