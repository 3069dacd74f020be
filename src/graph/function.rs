//! The scalar functions that are not built from others: one table with their reference, their derivative and where
//! they may be tested. Their WGSL is in shaders/scalar.wgsl and shaders/angle.wgsl, under the same names.

use super::expr::{Compare, Expr, Kind};
use super::real::Real;

/// A function of one number. Everything else (activations among them) is an expression over these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Function {
    Exp,
    Log,
    Sqrt,
    Abs,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Softplus,
    Log1p,
    Expm1,
}

impl Function {
    /// Every function, for the suites that test them all.
    #[doc(hidden)]
    pub const ALL: [Function; 11] = [
        Function::Exp,
        Function::Log,
        Function::Sqrt,
        Function::Abs,
        Function::Sin,
        Function::Cos,
        Function::Tanh,
        Function::Sigmoid,
        Function::Softplus,
        Function::Log1p,
        Function::Expm1,
    ];

    /// The name in WGSL. Those with an underscore are defined in shaders/scalar.wgsl or shaders/angle.wgsl, because the
    /// built-in is missing, not accurate enough, or makes a number of NaN.
    pub fn name(self) -> &'static str {
        match self {
            Function::Exp => "exp_",
            Function::Log => "log_",
            Function::Sqrt => "sqrt",
            Function::Abs => "abs",
            Function::Sin => "sin_",
            Function::Cos => "cos_",
            Function::Tanh => "tanh_",
            Function::Sigmoid => "sigmoid_",
            Function::Softplus => "softplus_",
            Function::Log1p => "log1p_",
            Function::Expm1 => "expm1_",
        }
    }

    /// The value at `x`.
    pub fn eval<R: Real>(self, x: R) -> R {
        let one = R::of(1.0);
        match self {
            Function::Exp => x.exp(),
            Function::Log => x.ln(),
            Function::Sqrt => x.sqrt(),
            Function::Abs => x.abs(),
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
            Function::Tanh => x.tanh(),
            // Never exponentiates a large positive number.
            Function::Sigmoid if x < R::of(0.0) => x.exp() / (one + x.exp()),
            Function::Sigmoid => one / (one + (-x).exp()),
            Function::Softplus if x > R::of(0.0) => x + (-x).exp().ln_1p(),
            Function::Softplus => x.exp().ln_1p(),
            Function::Log1p => x.ln_1p(),
            Function::Expm1 => x.exp_m1(),
        }
    }

    /// The derivative at `x`, where `y` is the value: written through `y` wherever that is possible.
    pub(crate) fn derivative(self, x: &Expr, y: &Expr) -> Expr {
        match self {
            Function::Exp => y.clone(),
            Function::Log => 1.0 / x,
            Function::Sqrt => 0.5 / y,
            Function::Abs => {
                Expr::constant(0.0).select(Compare::Less, x, 1.0, x.select(Compare::Less, &0.0.into(), -1.0, 0.0))
            }
            Function::Sin => x.cos(),
            Function::Cos => -x.sin(),
            Function::Tanh => 1.0 - y.square(),
            Function::Sigmoid => y * (1.0 - y),
            // Within a larger expression the argument is at hand.
            Function::Softplus if *y.0 != Kind::Output => x.sigmoid(),
            Function::Softplus => -(-y).expm1(),
            Function::Log1p => 1.0 / (1.0 + x),
            Function::Expm1 => y + 1.0,
        }
    }

    /// An interval on which the function is smooth and moderate, for the suites.
    pub fn domain(self) -> (f64, f64) {
        match self {
            Function::Log | Function::Sqrt | Function::Abs => (0.1, 4.0),
            Function::Log1p => (-0.9, 4.0),
            _ => (-4.0, 4.0),
        }
    }
}
