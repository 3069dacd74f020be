//! The numbers the interpreters count in: f32 as the GPU does, f64 to judge it by.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// f32 or f64.
pub trait Real:
    Copy
    + Debug
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Not a number.
    const NAN: Self;
    /// The nearest number of this type.
    fn of(value: f64) -> Self;
    /// As f64.
    fn wide(self) -> f64;
    /// Rounded to half precision.
    fn half(self) -> Self;
    /// e^x
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x)
    fn ln_1p(self) -> Self;
    /// e^x − 1
    fn exp_m1(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;
    /// Cosine.
    fn cos(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
}

macro_rules! real {
    ($t:ty, $narrow:path) => {
        impl Real for $t {
            const NAN: Self = <$t>::NAN;
            fn of(value: f64) -> Self {
                value as $t
            }
            fn wide(self) -> f64 {
                self as f64
            }
            fn half(self) -> Self {
                <$t>::from($narrow(self))
            }
            real!(@forward $t: exp ln ln_1p exp_m1 sqrt abs sin cos tanh);
        }
    };
    (@forward $t:ty: $($f:ident)*) => {
        $(fn $f(self) -> Self {
            <$t>::$f(self)
        })*
    };
}
real!(f32, half::f16::from_f32);
real!(f64, half::f16::from_f64);
