//! Chains of Gibbs steps against the distributions of their machines.

use crate::common::gpu;
use crate::theory::suite::boltzmann::{Machine, states};
use crate::theory::suite::linear::narrow;
use strait::rbm::{Gibbs, Units};

/// Σ (found − expected)²/expected over states of binary units.
fn chi_squared(rows: &[f32], width: usize, probabilities: &[f64]) -> f64 {
    let mut counts = vec![0.0; probabilities.len()];
    for row in rows.chunks(width) {
        counts[row.iter().enumerate().map(|(i, &v)| (v as usize) << i).sum::<usize>()] += 1.0;
    }
    let total = (rows.len() / width) as f64;
    counts.iter().zip(probabilities).map(|(found, p)| (found - total * p).powi(2) / (total * p)).sum()
}

#[test]
fn chains_have_the_distribution_of_the_machine() {
    let machine = Machine::drawn(4, 3, Units::Bernoulli, 1.5, 7);
    let (rbm, log_z) = (machine.rbm(Gibbs::default()), machine.log_z());
    let stationary: Vec<f64> = states(4).iter().map(|v| (-machine.free_energy(v) - log_z).exp()).collect();
    // From one state, so that one step is not yet there.
    let start = states(4)[6].clone();
    let mut chains = rbm.sampler(&gpu(), &machine.parameters(), &narrow(&start).repeat(8192), 5).unwrap();
    chains.advance(1).unwrap();
    let first = chains.rows().unwrap();
    chains.advance(60).unwrap();
    let last = chains.rows().unwrap();
    let once = machine.after(&[start], 1);
    // 15 degrees of freedom: above 44.3 once in 10,000 times.
    let found = [(&first, &once), (&first, &stationary), (&last, &stationary), (&last, &once)]
        .map(|(rows, expected)| chi_squared(rows, 4, expected));
    assert!(found[0] < 44.3 && found[2] < 44.3, "{found:?}");
    assert!(found[1] > 100.0 && found[3] > 100.0, "{found:?}");
    let mut again = rbm.sampler(&gpu(), &machine.parameters(), &narrow(&states(4)[6]).repeat(8192), 5).unwrap();
    again.advance(61).unwrap();
    assert!(again.rows().unwrap() == last, "a function of the seed");
}

/// The density of a machine with normal hidden units in closed form: proportional to exp(a'v + ½ ||v W + b||²).
#[test]
fn chains_through_normal_hidden_units_have_the_distribution_of_the_machine() {
    let machine = Machine::drawn(4, 2, Units::Bernoulli, 1.0, 7).with_normal_hidden();
    let weight = |v: &Vec<f64>| {
        let own: f64 = v.iter().zip(&machine.a).map(|(v, a)| v * a).sum();
        let inputs = (0..2).map(|j| machine.b[j] + (0..4).map(|i| v[i] * machine.w[i * 2 + j]).sum::<f64>());
        (own + 0.5 * inputs.map(|z| z * z).sum::<f64>()).exp()
    };
    let z: f64 = states(4).iter().map(weight).sum();
    let expected: Vec<f64> = states(4).iter().map(|v| weight(v) / z).collect();
    let start = narrow(&states(4)[6]).repeat(8192);
    let mut chains = machine.rbm(Gibbs::default()).sampler(&gpu(), &machine.parameters(), &start, 5).unwrap();
    chains.advance(1).unwrap();
    let first = chi_squared(&chains.rows().unwrap(), 4, &expected);
    chains.advance(60).unwrap();
    let last = chi_squared(&chains.rows().unwrap(), 4, &expected);
    assert!(last < 44.3 && first > 100.0, "{first}, {last}");
}

/// Chains of normal units: the moments of the mixture that the machine is.
#[test]
fn chains_of_normal_units_have_the_moments_of_the_mixture() {
    let machine = Machine::drawn(3, 2, Units::Gaussian, 1.2, 7);
    // p(h) is proportional to exp(b'h + ½ ||a + W h||² − ½ ||a||²).
    let weight = |h: &Vec<f64>| {
        let squares = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>();
        let linear: f64 = h.iter().zip(&machine.b).map(|(h, b)| h * b).sum();
        (linear + 0.5 * squares(&machine.visible_given(h)) - 0.5 * squares(&machine.a)).exp()
    };
    let hidden = states(2);
    let z: f64 = hidden.iter().map(weight).sum();
    let moment = |power: i32, i: usize| -> f64 {
        let of = |mean: f64| if power == 1 { mean } else { mean * mean + 1.0 };
        hidden.iter().map(|h| weight(h) / z * of(machine.visible_given(h)[i])).sum()
    };
    let mut chains = machine.rbm(Gibbs::default()).sampler(&gpu(), &machine.parameters(), &[3.0; 3 * 8192], 8).unwrap();
    chains.advance(80).unwrap();
    let rows = chains.rows().unwrap();
    for i in 0..3 {
        let column: Vec<f64> = rows.iter().skip(i).step_by(3).map(|&v| f64::from(v)).collect();
        let count = column.len() as f64;
        let mean = column.iter().sum::<f64>() / count;
        let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        let expected = moment(2, i) - moment(1, i).powi(2);
        assert!((mean - moment(1, i)).abs() < 5.0 * (expected / count).sqrt(), "{i}: {mean}, {}", moment(1, i));
        // A mixture of two humps has lighter tails than a normal distribution, whose error is an upper bound.
        assert!((variance / expected - 1.0).abs() < 5.0 * (2.0 / count).sqrt(), "{i}: {variance}, {expected}");
    }
}
