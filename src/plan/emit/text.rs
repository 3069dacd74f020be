//! Expressions and numbers as WGSL.

use super::body::Body;
use crate::error::{Error, Result};
use crate::graph::{Binary, Compare, Distribution, Expr, Function, Kind};

impl Body<'_> {
    /// The name of what an expression gives for inputs of these names.
    pub fn expr(&mut self, expr: &Expr, inputs: &[String]) -> Result<String> {
        let mut names: Vec<String> = Vec::new();
        for (part, of) in expr.ordered() {
            let name = |i: usize| names[of[i]].as_str();
            let text = match &*part.0 {
                Kind::Input(i) => Err(inputs[*i].clone()),
                Kind::Through { .. } => Err(name(0).to_string()),
                Kind::Output => return Err(Error::Internal("an output outside a derivative".into())),
                Kind::Excess => return Err(Error::Internal("an expression that is too deep".into())),
                Kind::Const(v) => Err(format!("T({})", literal(*v)?)),
                Kind::Rows => Ok("T(f32(state.rows))".into()),
                Kind::Unary(f, _) => Ok(call(*f, name(0))),
                Kind::Half(_) => Ok(format!("half_({})", name(0))),
                Kind::Binary(op, x, y) => {
                    let (a, b) = (name(0), name(1));
                    Ok(match op {
                        Binary::Add => format!("{a} + {b}"),
                        Binary::Sub => format!("{a} - {b}"),
                        Binary::Mul => format!("{a} * {b}"),
                        Binary::Div => format!("{a} / {b}"),
                        Binary::Max => or_nan(format!("max({a}, {b})"), [x, y], [a, b]),
                        Binary::Min => or_nan(format!("min({a}, {b})"), [x, y], [a, b]),
                    })
                }
                Kind::Select(compare, [x, y, ..]) => {
                    let sign = match compare {
                        Compare::Less => "<",
                        Compare::LessEqual => "<=",
                        Compare::Equal => "==",
                    };
                    let (a, b) = (name(0), name(1));
                    Ok(or_nan(format!("select({}, {}, {a} {sign} {b})", name(3), name(2)), [x, y], [a, b]))
                }
                Kind::Random(Distribution::Uniform, stream) => Ok(format!("random_uniform(row, c, {stream}u)")),
                Kind::Random(Distribution::Normal, stream) => Ok(format!("random_normal(row, c, {stream}u)")),
                Kind::Column => Ok("T(vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u))".into()),
            };
            // What has a name already, or is a number, needs no line.
            names.push(text.map_or_else(|name| name, |text| self.line(text)));
        }
        names.pop().ok_or_else(|| Error::Internal("an expression without parts".into()))
    }
}

/// A choice between two operands, or by comparing them, that is NaN where one of them is. `names` are theirs.
fn or_nan(choice: String, operands: [&Expr; 2], names: [&str; 2]) -> String {
    let unsure = |e: &Expr| !matches!(*e.0, Kind::Const(_) | Kind::Rows | Kind::Column | Kind::Random(..));
    let mut tests: Vec<String> =
        operands.into_iter().zip(names).filter(|(e, _)| unsure(e)).map(|(_, name)| format!("is_nan({name})")).collect();
    tests.dedup();
    if tests.is_empty() { choice } else { format!("or_nan({choice}, {})", tests.join(" | ")) }
}

fn call(f: Function, argument: &str) -> String {
    format!("{}({argument})", f.name())
}

/// A number as WGSL.
pub(super) fn literal(value: f64) -> Result<String> {
    let narrow = value as f32;
    if !narrow.is_finite() {
        return Err(Error::Internal(format!("the constant {value} is not a finite f32")));
    }
    // The shortest text of the largest numbers lies beyond them: it stands for them only if it is rounded.
    match format!("{narrow:?}") {
        text if text.parse::<f64>().is_ok_and(|v| v.abs() > f32::MAX.into()) => Ok(format!("{:?}", f64::from(narrow))),
        text => Ok(text),
    }
}
