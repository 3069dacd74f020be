//! Activations: each is one expression. To add one, add a variant, its name to [`Activation::ALL`] and its line in
//! [`Activation::of`]; its WGSL, its reference and all its derivatives follow, and so do its tests.

use serde::{Deserialize, Serialize};

use crate::graph::Expr;

/// What a layer applies to each of its pre-activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// x
    #[default]
    Identity,
    /// 1 / (1 + exp(−x))
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// max(x, 0); Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    Relu,
    /// x where positive, 0.01 x elsewhere; Maas, Hannun and Ng, 2013.
    LeakyRelu,
    /// x where positive, exp(x) − 1 elsewhere; Clevert, Unterthiner and Hochreiter, 2015.
    Elu,
    /// The self-normalising ELU, 1.0507 · (x where positive, 1.6733 (exp(x) − 1) elsewhere); Klambauer and others, 2017.
    Selu,
    /// x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))): the tanh form, since WGSL has no erf; Hendrycks and Gimpel, 2016.
    Gelu,
    /// x · sigmoid(x), also called swish; Elfwing, Uchibe and Doya, 2017.
    Silu,
    /// log(1 + exp(x))
    Softplus,
}

const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const LEAK: f64 = 0.01;

impl Activation {
    /// Every activation, for the suites that test them all.
    #[doc(hidden)]
    pub const ALL: [Activation; 10] = [
        Activation::Identity,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Elu,
        Activation::Selu,
        Activation::Gelu,
        Activation::Silu,
        Activation::Softplus,
    ];

    /// The activation of `x`. Where the derivative can be told from the value, it is: then training need not keep
    /// the pre-activation.
    pub fn of(self, x: &Expr) -> Expr {
        match self {
            Activation::Identity => x.clone(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Tanh => x.tanh(),
            Activation::Relu => Expr::through_output(x.max(0.0), x, |y| y.if_positive(1.0, 0.0)),
            Activation::LeakyRelu => Expr::through_output(x.if_positive(x, LEAK * x), x, |y| y.if_positive(1.0, LEAK)),
            Activation::Elu => Expr::through_output(x.if_positive(x, x.expm1()), x, |y| y.if_positive(1.0, y + 1.0)),
            Activation::Selu => {
                let scale = SELU_SCALE * SELU_ALPHA;
                let value = x.if_positive(SELU_SCALE * x, scale * x.expm1());
                Expr::through_output(value, x, |y| y.if_positive(SELU_SCALE, y + scale))
            }
            Activation::Gelu => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x.square());
                // (1 + tanh(u)) / 2 without the cancellation far to the left.
                x * (2.0 * inner).sigmoid()
            }
            Activation::Silu => x * x.sigmoid(),
            Activation::Softplus => x.softplus(),
        }
    }

    /// The interval that the values lie in.
    #[doc(hidden)]
    pub fn range(self) -> (f64, f64) {
        let infinite = f64::INFINITY;
        match self {
            Activation::Sigmoid => (0.0, 1.0),
            Activation::Tanh => (-1.0, 1.0),
            Activation::Relu | Activation::Softplus => (0.0, infinite),
            Activation::Elu => (-1.0, infinite),
            Activation::Selu => (-SELU_SCALE * SELU_ALPHA, infinite),
            Activation::Gelu => (-0.171, infinite),
            Activation::Silu => (-0.279, infinite),
            Activation::Identity | Activation::LeakyRelu => (-infinite, infinite),
        }
    }

    /// Its name in a spec.
    #[doc(hidden)]
    pub fn name(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Relu => "relu",
            Activation::LeakyRelu => "leaky_relu",
            Activation::Elu => "elu",
            Activation::Selu => "selu",
            Activation::Gelu => "gelu",
            Activation::Silu => "silu",
            Activation::Softplus => "softplus",
        }
    }
}
