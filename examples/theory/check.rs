//! One identity of a row: what theory expects, what the GPU gave, and how far apart they may be.

/// How the measured value must lie to the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// No further away than the tolerance.
    Equal,
    /// No larger.
    AtMost,
    /// No smaller.
    AtLeast,
}

/// An identity and its two sides.
#[derive(Clone, Debug)]
pub struct Check {
    /// What is claimed, in a few words.
    pub identity: String,
    /// How both sides must lie.
    pub relation: Relation,
    /// From a closed form, from f64 linear algebra, by brute force or from the list: never by the code under test.
    pub expected: f64,
    /// From the GPU.
    pub measured: f64,
    /// How far apart both sides may be: absolute, 0 for bounds.
    pub tolerance: f64,
}

impl Check {
    /// `measured` is within `tolerance` of `expected`.
    pub fn equal(
        identity: impl Into<String>,
        expected: impl Into<f64>,
        measured: impl Into<f64>,
        tolerance: f64,
    ) -> Check {
        Check::new(identity, Relation::Equal, expected.into(), measured.into(), tolerance)
    }

    /// `measured` is no larger than `bound`.
    pub fn at_most(identity: impl Into<String>, bound: impl Into<f64>, measured: impl Into<f64>) -> Check {
        Check::new(identity, Relation::AtMost, bound.into(), measured.into(), 0.0)
    }

    /// `measured` is no smaller than `bound`.
    pub fn at_least(identity: impl Into<String>, bound: impl Into<f64>, measured: impl Into<f64>) -> Check {
        Check::new(identity, Relation::AtLeast, bound.into(), measured.into(), 0.0)
    }

    /// Every element of `measured` is within `tolerance` of its counterpart; the pair that is furthest apart is shown.
    /// Fails where there are none, or not as many.
    pub fn all_equal<T: Copy + Into<f64>>(
        identity: impl Into<String>,
        expected: &[f64],
        measured: &[T],
        tolerance: f64,
    ) -> Check {
        let apart = |pair: &(f64, f64)| match (pair.0 - pair.1).abs() {
            d if d.is_nan() => f64::INFINITY,
            d => d,
        };
        let pairs = expected.iter().copied().zip(measured.iter().map(|&m| m.into()));
        let worst = pairs.max_by(|a, b| apart(a).total_cmp(&apart(b)));
        match worst.filter(|_| expected.len() == measured.len()) {
            Some((expected, measured)) => Check::equal(identity, expected, measured, tolerance),
            None => {
                let identity = format!("{} ({} values of {})", identity.into(), measured.len(), expected.len());
                Check::equal(identity, f64::NAN, f64::NAN, tolerance)
            }
        }
    }

    fn new(identity: impl Into<String>, relation: Relation, expected: f64, measured: f64, tolerance: f64) -> Check {
        Check { identity: identity.into(), relation, expected, measured, tolerance }
    }

    /// Whether it holds. What is not a finite number never does.
    pub fn passes(&self) -> bool {
        let holds = match self.relation {
            Relation::Equal => (self.measured - self.expected).abs() <= self.tolerance,
            Relation::AtMost => self.measured <= self.expected,
            Relation::AtLeast => self.measured >= self.expected,
        };
        holds && self.measured.is_finite() && self.expected.is_finite()
    }

    /// The columns of the table.
    pub fn line(&self) -> String {
        let bound = match self.relation {
            Relation::Equal => "",
            Relation::AtMost => "<= ",
            Relation::AtLeast => ">= ",
        };
        let expected = format!("{bound}{}", number(self.expected, 6));
        let measured = number(self.measured, 6);
        let (apart, tolerance) = match self.relation {
            Relation::Equal => (number((self.measured - self.expected).abs(), 2), number(self.tolerance, 2)),
            _ => ("-".into(), "-".into()),
        };
        let verdict = if self.passes() { "pass" } else { "FAIL" };
        format!("{:<62} {expected:>13} {measured:>13} {apart:>9} {tolerance:>9}  {verdict}", self.identity)
    }

    /// The titles of these columns.
    pub fn titles() -> String {
        let [expected, measured, apart, tolerance] = ["expected", "measured", "apart", "tolerance"];
        format!("{:<62} {expected:>13} {measured:>13} {apart:>9} {tolerance:>9}  verdict", "identity")
    }

    /// As an object for machines.
    pub fn json(&self, row: u32) -> serde_json::Value {
        let relation = match self.relation {
            Relation::Equal => "equal",
            Relation::AtMost => "at_most",
            Relation::AtLeast => "at_least",
        };
        serde_json::json!({
            "row": row,
            "identity": self.identity,
            "relation": relation,
            "expected": self.expected,
            "measured": self.measured,
            "tolerance": self.tolerance,
            "pass": self.passes(),
        })
    }
}

/// A number in so many digits, with an exponent where it is very small or large.
fn number(value: f64, digits: usize) -> String {
    let short = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    match value.abs() {
        0.0 => "0".into(),
        size if !size.is_finite() => value.to_string(),
        size if !(1e-3..1e6).contains(&size) => {
            let text = format!("{value:.*e}", digits - 1);
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{exponent}", short(digits))
        }
        size => {
            let places = (digits as f64 - 1.0 - size.log10().floor()).max(0.0) as usize;
            short(&format!("{value:.places$}"))
        }
    }
}
