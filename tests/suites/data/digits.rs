//! The built-in digits, against numbers that Python computed from scikit-learn's digits.csv.gz.

use strait::data::digits;

#[test]
fn digits_are_the_ones_of_uci() {
    let data = digits().unwrap();
    assert_eq!((data.rows(), data.columns(), data.name()), (1797, 64, "digits"));
    assert_eq!(data.min_max(), (0.0, 1.0));

    // Sixteenths are exact in f32, so the sums are whole numbers.
    let dots = |values: &[f32]| values.iter().map(|v| f64::from(*v) * 16.0).collect::<Vec<f64>>();
    let all = dots(data.values());
    assert_eq!(all.iter().sum::<f64>(), 561_718.0);
    assert_eq!(all.iter().map(|v| v * v).sum::<f64>(), 6_907_012.0);
    assert_eq!(all.iter().skip(20).step_by(64).sum::<f64>(), 12_755.0);
    let never: Vec<usize> = (0..64).filter(|&c| all.iter().skip(c).step_by(64).all(|v| *v == 0.0)).collect();
    assert_eq!(never, [0, 32, 39]);
    assert_eq!(dots(data.row(0).unwrap())[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0]);
    assert_eq!(dots(data.row(1796).unwrap())[..8], [0.0, 0.0, 10.0, 14.0, 8.0, 1.0, 0.0, 0.0]);

    let labels = data.labels().unwrap();
    let counts: Vec<usize> = (0..10).map(|digit| labels.iter().filter(|&&l| l == digit).count()).collect();
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    assert_eq!((labels[0], labels[1796]), (0, 8));
}
