//! Scalar expressions: what a `Map` node computes for one element, and their symbolic derivatives.
//!
//! The same expression is printed as WGSL, evaluated on the CPU in f32 and f64, and differentiated, as often as one
//! likes: activations, losses, penalties and corruptions are nothing but functions that build one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops;
use std::sync::Arc;

use super::function::Function;
use super::real::Real;
use crate::error::{Error, Result};

/// How deep operations may be nested, so that walking through them needs no more stack than a thread has.
const DEEPEST: u16 = 512;

/// The most different operations in one expression: a kernel of more would take minutes to compile.
const LARGEST: usize = 4096;

/// A two-argument operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
    /// The larger of both; NaN where one is.
    Max,
    /// The smaller of both; NaN where one is.
    Min,
}

impl Binary {
    /// Every one, for the suites that test them all.
    #[doc(hidden)]
    pub const ALL: [Binary; 6] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min];
}

/// A comparison, for [`Expr::select`]. With NaN it neither holds nor fails: what is chosen by it is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compare {
    /// a < b
    Less,
    /// a <= b
    LessEqual,
    /// a == b
    Equal,
}

impl Compare {
    /// Every one, for the suites that test them all.
    #[doc(hidden)]
    pub const ALL: [Compare; 3] = [Compare::Less, Compare::LessEqual, Compare::Equal];

    /// Whether it holds for two numbers.
    pub(crate) fn holds<R: Real>(self, a: R, b: R) -> bool {
        match self {
            Compare::Less => a < b,
            Compare::LessEqual => a <= b,
            Compare::Equal => a == b,
        }
    }
}

/// What a random draw is distributed like. Draws depend on (seed, stream, step, row, column) alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Distribution {
    /// Uniform on [0, 1), a multiple of 2^-24: the same bits on every adapter.
    Uniform,
    /// Standard normal.
    Normal,
}

/// A scalar expression over the inputs of a map. Clones share their parts, and what is shared is computed once.
///
/// At most 512 operations deep; what is nested deeper, or has more than 4,096 different parts, is refused by the graph it is
/// given to.
#[derive(Clone)]
pub struct Expr(pub(crate) Arc<Kind>, u16);

/// The forms of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// The element of the i-th input.
    Input(usize),
    /// The value of the whole expression: only in derivatives, where it saves keeping the inputs.
    Output,
    Const(f64),
    /// Rows in the current batch.
    Rows,
    Unary(Function, Expr),
    /// Rounded to half precision.
    Half(Expr),
    Binary(Binary, Expr, Expr),
    /// `if a (compare) b { then } else { otherwise }`
    Select(Compare, [Expr; 4]),
    Random(Distribution, u32),
    /// The element's own column.
    Column,
    /// `value`, a function of `argument` whose derivative is `slope`, written in terms of `Output`.
    Through {
        value: Expr,
        argument: Expr,
        slope: Expr,
    },
    /// What was nested too deep.
    Excess,
}

impl Expr {
    /// The only way to make one, so that none is too deep.
    fn new(kind: Kind) -> Expr {
        let depth = match &kind {
            Kind::Through { value, argument, slope } => value.1.max(argument.1).max(slope.1),
            Kind::Unary(_, a) | Kind::Half(a) => a.1,
            Kind::Binary(_, a, b) => a.1.max(b.1),
            Kind::Select(_, [a, b, t, o]) => a.1.max(b.1).max(t.1).max(o.1),
            Kind::Input(_) | Kind::Output | Kind::Const(_) | Kind::Rows | Kind::Random(..) | Kind::Column => 0,
            Kind::Excess => DEEPEST,
        };
        // What is made of something too deep is so too.
        match depth < DEEPEST {
            true => Expr(Arc::new(kind), depth + 1),
            false => Expr(Arc::new(Kind::Excess), DEEPEST),
        }
    }

    /// Fails where the expression is too deep or too large for a kernel.
    pub(crate) fn check(&self) -> Result<()> {
        if *self.0 == Kind::Excess {
            return Err(Error::spec("an expression (operations nested)", "more", format!("at most {DEEPEST}")));
        }
        match self.ordered().len() {
            0..=LARGEST => Ok(()),
            size => Err(Error::spec("an expression (operations)", size, format!("at most {LARGEST}"))),
        }
    }

    /// The element of the i-th input.
    pub fn input(i: usize) -> Expr {
        Expr::new(Kind::Input(i))
    }

    /// A constant.
    pub fn constant(value: f64) -> Expr {
        Expr::new(Kind::Const(value))
    }

    /// The number of rows in the current batch, for means over it.
    pub fn rows() -> Expr {
        Expr::new(Kind::Rows)
    }

    /// The expression's own value; see [`Expr::through_output`].
    fn output() -> Expr {
        Expr::new(Kind::Output)
    }

    /// A fresh random draw for every element and step; `stream` keeps draws of different places apart.
    pub fn random(distribution: Distribution, stream: u32) -> Expr {
        Expr::new(Kind::Random(distribution, stream))
    }

    /// The column of the element that is computed, counted from 0: exact below 2^24.
    pub fn column() -> Expr {
        Expr::new(Kind::Column)
    }

    /// `value`, declared to be a function of `argument` with a derivative that can be had from the value itself.
    /// Then backward passes need not keep the argument.
    pub fn through_output(value: Expr, argument: &Expr, slope: impl FnOnce(&Expr) -> Expr) -> Expr {
        let slope = slope(&Expr::output());
        Expr::new(Kind::Through { value, argument: argument.clone(), slope })
    }

    /// `value`, which derivatives take for a constant.
    pub fn detached(value: Expr) -> Expr {
        Expr::through_output(value, &Expr::constant(0.0), |_| Expr::constant(0.0))
    }

    /// `f(self)`.
    #[doc(hidden)]
    pub fn apply(&self, f: Function) -> Expr {
        if let Some(v) = self.as_const() {
            return Expr::constant(f.eval(v));
        }
        Expr::new(Kind::Unary(f, self.clone()))
    }

    /// The value rounded to half precision, to the nearest, even where two are: a number of 16 bits, infinite from
    /// 65,520 on. Derivatives take it for the value itself.
    #[doc(hidden)]
    pub fn half(&self) -> Expr {
        Expr::new(Kind::Half(self.clone()))
    }

    /// `if self (compare) other { then } else { otherwise }`; NaN where one of the compared is.
    pub fn select(&self, compare: Compare, other: &Expr, then: impl Into<Expr>, otherwise: impl Into<Expr>) -> Expr {
        let (then, otherwise) = (then.into(), otherwise.into());
        if then == otherwise {
            return then;
        }
        Expr::new(Kind::Select(compare, [self.clone(), other.clone(), then, otherwise]))
    }

    /// `if self > 0 { then } else { otherwise }`; NaN where the value is.
    #[doc(hidden)]
    pub fn if_positive(&self, then: impl Into<Expr>, otherwise: impl Into<Expr>) -> Expr {
        Expr::constant(0.0).select(Compare::Less, self, then, otherwise)
    }

    /// The larger of both; NaN where one is.
    pub fn max(&self, other: impl Into<Expr>) -> Expr {
        binary(Binary::Max, self.clone(), other.into())
    }

    /// The smaller of both; NaN where one is.
    pub fn min(&self, other: impl Into<Expr>) -> Expr {
        binary(Binary::Min, self.clone(), other.into())
    }

    /// `self²`.
    pub fn square(&self) -> Expr {
        self * self
    }

    /// e to the power of the value.
    pub fn exp(&self) -> Expr {
        self.apply(Function::Exp)
    }

    /// Natural logarithm.
    pub fn log(&self) -> Expr {
        self.apply(Function::Log)
    }

    /// log(1 + value), accurate near 0.
    pub fn log1p(&self) -> Expr {
        self.apply(Function::Log1p)
    }

    /// exp(value) − 1, accurate near 0.
    pub fn expm1(&self) -> Expr {
        self.apply(Function::Expm1)
    }

    /// Square root.
    pub fn sqrt(&self) -> Expr {
        self.apply(Function::Sqrt)
    }

    /// Absolute value.
    pub fn abs(&self) -> Expr {
        self.apply(Function::Abs)
    }

    /// Hyperbolic tangent.
    pub fn tanh(&self) -> Expr {
        self.apply(Function::Tanh)
    }

    /// 1 / (1 + exp(−value)).
    pub fn sigmoid(&self) -> Expr {
        self.apply(Function::Sigmoid)
    }

    /// log(1 + exp(value)).
    pub fn softplus(&self) -> Expr {
        self.apply(Function::Softplus)
    }

    /// Sine.
    pub fn sin(&self) -> Expr {
        self.apply(Function::Sin)
    }

    /// Cosine.
    pub fn cos(&self) -> Expr {
        self.apply(Function::Cos)
    }

    /// The value, where it is a constant.
    pub(crate) fn as_const(&self) -> Option<f64> {
        match *self.0 {
            Kind::Const(v) => Some(v),
            _ => None,
        }
    }

    /// The direct parts of the expression, the slope of a `Through` left out.
    pub(crate) fn parts(&self) -> Vec<&Expr> {
        match &*self.0 {
            Kind::Input(_) | Kind::Output | Kind::Const(_) | Kind::Rows | Kind::Random(..) => vec![],
            Kind::Column | Kind::Excess => vec![],
            Kind::Unary(_, a) | Kind::Half(a) => vec![a],
            Kind::Binary(_, a, b) => vec![a, b],
            Kind::Select(_, parts) => parts.iter().collect(),
            Kind::Through { value, .. } => vec![value],
        }
    }

    /// How deep operations are nested.
    pub(crate) fn depth(&self) -> u16 {
        self.1
    }

    /// What tells a shared part from others.
    pub(crate) fn identity(&self) -> *const Kind {
        Arc::as_ptr(&self.0)
    }

    /// The expression with other direct parts, in the order of [`Expr::parts`]; a `Through` becomes its value.
    pub(crate) fn with_parts(&self, parts: &[Expr]) -> Expr {
        match (&*self.0, parts) {
            (Kind::Unary(f, _), [a]) => a.apply(*f),
            (Kind::Half(_), [a]) => a.half(),
            (Kind::Binary(op, ..), [a, b]) => binary(*op, a.clone(), b.clone()),
            (Kind::Select(c, _), [a, b, t, o]) => a.select(*c, b, t, o),
            (Kind::Through { .. }, [value]) => value.clone(),
            _ => self.clone(),
        }
    }

    /// Every part once, parts before what is made of them and the expression last, each with the places of its direct
    /// parts in that order.
    pub(crate) fn ordered(&self) -> Vec<(&Expr, Vec<usize>)> {
        let (mut order, mut places) = (Vec::new(), HashMap::new());
        self.place(&mut order, &mut places);
        order
    }

    fn place<'a>(&'a self, order: &mut Vec<(&'a Expr, Vec<usize>)>, places: &mut HashMap<*const Kind, usize>) -> usize {
        if let Some(&at) = places.get(&self.identity()) {
            return at;
        }
        let parts = self.parts().into_iter().map(|part| part.place(order, places)).collect();
        order.push((self, parts));
        places.insert(self.identity(), order.len() - 1);
        order.len() - 1
    }

    /// Which of the first `count` inputs the value depends on.
    pub(crate) fn used(&self, count: usize) -> Vec<usize> {
        let mut used = vec![false; count];
        for (part, _) in self.ordered() {
            if let Kind::Input(i) = *part.0
                && i < count
            {
                used[i] = true;
            }
        }
        (0..count).filter(|&i| used[i]).collect()
    }

    /// The value, where it follows from those inputs that are known. What is finite times 0 is 0.
    pub(crate) fn known(&self, input: &dyn Fn(usize) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<Option<f64>> = Vec::new();
        for (part, of) in self.ordered() {
            let at = |i: usize| values[of[i]];
            let value = match &*part.0 {
                Kind::Input(i) => input(*i),
                Kind::Const(v) => Some(*v),
                Kind::Unary(f, _) => at(0).map(|v| f.eval(v)),
                Kind::Half(_) => at(0).map(Real::half),
                Kind::Binary(Binary::Mul, ..) if at(0) == Some(0.0) || at(1) == Some(0.0) => Some(0.0),
                Kind::Binary(op, ..) => at(0).zip(at(1)).map(|(a, b)| eval_binary(*op, a, b)),
                Kind::Select(compare, _) => match at(0).zip(at(1)) {
                    Some((a, b)) => at(if compare.holds(a, b) { 2 } else { 3 }),
                    None => at(2).filter(|_| at(2) == at(3)),
                },
                Kind::Through { .. } => at(0),
                Kind::Output | Kind::Rows | Kind::Random(..) | Kind::Column | Kind::Excess => None,
            };
            values.push(value);
        }
        values.pop().flatten()
    }

    /// The expression over those inputs alone that it uses, with these.
    pub(crate) fn compact<T: Copy>(&self, inputs: &[T]) -> (Expr, Vec<T>) {
        let used = self.used(inputs.len());
        let rank = |i: usize| Expr::input(used.iter().position(|&u| u == i).unwrap_or(0));
        (self.substitute(&rank, None), used.iter().map(|&i| inputs[i]).collect())
    }

    /// Whether `test` holds for the expression or any part of it.
    pub(crate) fn any(&self, test: &dyn Fn(&Kind) -> bool) -> bool {
        self.ordered().into_iter().any(|(part, _)| test(&part.0))
    }

    /// Whether it names none but the first `count` inputs.
    pub(crate) fn reads_below(&self, count: usize) -> bool {
        self.reads_only(count, &mut HashSet::new())
    }

    fn reads_only(&self, count: usize, seen: &mut HashSet<*const Kind>) -> bool {
        if !seen.insert(self.identity()) {
            return true;
        }
        let own = match &*self.0 {
            Kind::Input(i) => *i < count,
            Kind::Through { argument, .. } => argument.reads_only(count, seen),
            _ => true,
        };
        own && self.parts().into_iter().all(|part| part.reads_only(count, seen))
    }

    /// The expression with every input replaced by `input(i)` and `Output` by `output`.
    pub(crate) fn substitute(&self, input: &dyn Fn(usize) -> Expr, output: Option<&Expr>) -> Expr {
        self.replace(input, output, &mut HashMap::new())
    }

    fn replace(
        &self,
        input: &dyn Fn(usize) -> Expr,
        output: Option<&Expr>,
        done: &mut HashMap<*const Kind, Expr>,
    ) -> Expr {
        if let Some(replaced) = done.get(&self.identity()) {
            return replaced.clone();
        }
        let mut sub = |e: &Expr| e.replace(input, output, done);
        let replaced = match &*self.0 {
            Kind::Input(i) => input(*i),
            Kind::Output => output.unwrap_or(self).clone(),
            Kind::Const(_) | Kind::Rows | Kind::Random(..) | Kind::Column | Kind::Excess => self.clone(),
            Kind::Unary(f, a) => sub(a).apply(*f),
            Kind::Half(a) => sub(a).half(),
            Kind::Binary(op, a, b) => binary(*op, sub(a), sub(b)),
            Kind::Select(c, [a, b, t, o]) => sub(a).select(*c, &sub(b), sub(t), sub(o)),
            // The slope speaks of its own output, not of the one that is being replaced.
            Kind::Through { value, argument, slope } => {
                let slope = slope.clone();
                Expr::new(Kind::Through { value: sub(value), argument: sub(argument), slope })
            }
        };
        done.insert(self.identity(), replaced.clone());
        replaced
    }

    /// The derivative with respect to the i-th input. Where the outermost operation allows it, the result is written
    /// in terms of [`Kind::Output`], the value of `self`.
    pub(crate) fn derivative(&self, i: usize) -> Expr {
        self.derive(i, &Expr::output(), &mut HashMap::new())
    }

    /// `value` is what may stand for the value of `self`; `done` are derivatives of parts.
    fn derive(&self, i: usize, value: &Expr, done: &mut HashMap<*const Kind, Expr>) -> Expr {
        // Below the root an expression is its own value.
        let mut inner = |e: &Expr| match done.get(&e.identity()) {
            Some(derivative) => derivative.clone(),
            None => {
                let derivative = e.derive(i, e, done);
                done.insert(e.identity(), derivative.clone());
                derivative
            }
        };
        let zero = || Expr::constant(0.0);
        match &*self.0 {
            Kind::Input(j) => Expr::constant(if *j == i { 1.0 } else { 0.0 }),
            Kind::Const(_) | Kind::Rows | Kind::Random(..) | Kind::Column | Kind::Output => zero(),
            Kind::Excess => self.clone(),
            Kind::Unary(f, a) => match inner(a) {
                d if d.is_zero() => d,
                d => f.derivative(a, value) * d,
            },
            Kind::Half(a) => inner(a),
            Kind::Binary(op, a, b) => {
                let (da, db) = (inner(a), inner(b));
                match op {
                    Binary::Add => da + db,
                    Binary::Sub => da - db,
                    Binary::Mul => da * b + db * a,
                    Binary::Div if db.is_zero() => da / b,
                    Binary::Div => (da - db * value) / b,
                    Binary::Max => a.select(Compare::Less, b, db, da),
                    Binary::Min => a.select(Compare::Less, b, da, db),
                }
            }
            Kind::Select(c, [a, b, t, o]) => a.select(*c, b, inner(t), inner(o)),
            Kind::Through { argument, slope, .. } => match inner(argument) {
                d if d.is_zero() => d,
                d => slope.substitute(&Expr::input, Some(value)) * d,
            },
        }
    }

    /// Whether the value differs from element to element without any input.
    pub(crate) fn is_placed(&self) -> bool {
        self.any(&|k| matches!(k, Kind::Random(..) | Kind::Column))
    }

    /// `seen` are pairs that are the same, or are being compared.
    fn same(&self, other: &Expr, seen: &mut HashSet<[*const Kind; 2]>) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) || !seen.insert([self.identity(), other.identity()]) {
            return true;
        }
        let mut all = |parts: &[[&Expr; 2]]| parts.iter().all(|[a, b]| a.same(b, seen));
        match (&*self.0, &*other.0) {
            (Kind::Input(i), Kind::Input(j)) => i == j,
            (Kind::Const(v), Kind::Const(w)) => v == w,
            (Kind::Random(d, i), Kind::Random(e, j)) => (d, i) == (e, j),
            (Kind::Output, Kind::Output) | (Kind::Rows, Kind::Rows) | (Kind::Column, Kind::Column) => true,
            (Kind::Unary(f, a), Kind::Unary(g, b)) => f == g && all(&[[a, b]]),
            (Kind::Half(a), Kind::Half(b)) => all(&[[a, b]]),
            (Kind::Binary(op, a, b), Kind::Binary(other, c, d)) => op == other && all(&[[a, c], [b, d]]),
            (Kind::Select(c, [a, b, t, o]), Kind::Select(d, [e, f, u, p])) => {
                c == d && all(&[[a, e], [b, f], [t, u], [o, p]])
            }
            (Kind::Through { value, argument, slope }, Kind::Through { value: v, argument: a, slope: s }) => {
                all(&[[value, v], [argument, a], [slope, s]])
            }
            _ => false,
        }
    }

    fn is_zero(&self) -> bool {
        self.as_const() == Some(0.0)
    }
}

impl PartialEq for Expr {
    /// Whether both are made of the same operations.
    fn eq(&self, other: &Expr) -> bool {
        self.same(other, &mut HashSet::new())
    }
}

impl fmt::Debug for Expr {
    /// Every part once, in the order in which they are computed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = f.debug_list();
        for (part, of) in self.ordered() {
            match &*part.0 {
                Kind::Unary(function, _) => parts.entry(&format_args!("{function:?} {of:?}")),
                Kind::Half(_) => parts.entry(&format_args!("Half {of:?}")),
                Kind::Binary(op, ..) => parts.entry(&format_args!("{op:?} {of:?}")),
                Kind::Select(compare, _) => parts.entry(&format_args!("Select {compare:?} {of:?}")),
                Kind::Through { .. } => parts.entry(&format_args!("Through {of:?}")),
                leaf => parts.entry(leaf),
            };
        }
        parts.finish()
    }
}

/// Builds a binary operation, leaving out what does nothing: derivatives are full of zeros and ones.
fn binary(op: Binary, a: Expr, b: Expr) -> Expr {
    match (op, a.as_const(), b.as_const()) {
        (_, Some(x), Some(y)) => return Expr::constant(eval_binary(op, x, y)),
        (Binary::Add, Some(0.0), _) | (Binary::Mul, Some(1.0), _) => return b,
        (Binary::Add | Binary::Sub, _, Some(0.0)) | (Binary::Mul | Binary::Div, _, Some(1.0)) => return a,
        (Binary::Mul | Binary::Div, Some(0.0), _) | (Binary::Mul, _, Some(0.0)) => return Expr::constant(0.0),
        _ => {}
    }
    Expr::new(Kind::Binary(op, a, b))
}

/// Whether a value is not a number.
pub(crate) fn is_nan<R: super::Real>(value: R) -> bool {
    value.wide().is_nan()
}

/// The operation itself, for any number type.
pub(crate) fn eval_binary<R: Real>(op: Binary, a: R, b: R) -> R {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max | Binary::Min if is_nan(a) || is_nan(b) => R::NAN,
        Binary::Max if a < b => b,
        Binary::Max => a,
        Binary::Min if b < a => b,
        Binary::Min => a,
    }
}

impl From<f64> for Expr {
    fn from(value: f64) -> Expr {
        Expr::constant(value)
    }
}

impl From<&Expr> for Expr {
    fn from(e: &Expr) -> Expr {
        e.clone()
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:expr) => {
        impl<B: Into<Expr>> ops::$trait<B> for Expr {
            type Output = Expr;
            fn $method(self, other: B) -> Expr {
                binary($op, self, other.into())
            }
        }
        impl<B: Into<Expr>> ops::$trait<B> for &Expr {
            type Output = Expr;
            fn $method(self, other: B) -> Expr {
                binary($op, self.clone(), other.into())
            }
        }
        impl ops::$trait<Expr> for f64 {
            type Output = Expr;
            fn $method(self, other: Expr) -> Expr {
                binary($op, Expr::constant(self), other)
            }
        }
        impl ops::$trait<&Expr> for f64 {
            type Output = Expr;
            fn $method(self, other: &Expr) -> Expr {
                binary($op, Expr::constant(self), other.clone())
            }
        }
    };
}
operator!(Add, add, Binary::Add);
operator!(Sub, sub, Binary::Sub);
operator!(Mul, mul, Binary::Mul);
operator!(Div, div, Binary::Div);

impl ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        Expr::constant(-1.0) * self
    }
}

impl ops::Neg for &Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        Expr::constant(-1.0) * self
    }
}
