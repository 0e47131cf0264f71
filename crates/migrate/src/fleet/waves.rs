//! Which databases are migrated in which wave. Pure.

use crate::fleet::targets::{FleetError, FleetTarget};

/// Splits `targets` at `shares`, in per cent of all of them. The last wave takes what is left.
pub(crate) fn split(
    mut targets: Vec<FleetTarget>,
    shares: &[u8],
) -> Result<Vec<Vec<FleetTarget>>, FleetError> {
    let rising = shares.is_sorted_by(|one, two| one < two);
    if !rising || shares.iter().any(|share| *share == 0 || *share > 100) {
        return Err(FleetError::Waves { shares: shares.to_vec() });
    }
    let all = targets.len();
    let mut waves = Vec::new();
    let mut taken = 0;
    for share in shares {
        // Rounded up: a wave of a small fleet has one database, not none.
        let upto = (all * usize::from(*share)).div_ceil(100);
        let rest = targets.split_off((upto - taken).min(targets.len()));
        taken = upto;
        waves.push(std::mem::replace(&mut targets, rest));
    }
    waves.push(targets);
    waves.retain(|wave| !wave.is_empty());
    Ok(waves)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(count: usize, shares: &[u8]) -> Vec<usize> {
        let target = |n: usize| FleetTarget { name: n.to_string(), url: String::new().into() };
        let waves = split((0..count).map(target).collect(), shares).unwrap();
        let order: Vec<usize> = waves.iter().flatten().map(|t| t.name.parse().unwrap()).collect();
        assert!(order.is_sorted() && order.len() == count, "{order:?}");
        waves.iter().map(Vec::len).collect()
    }

    #[test]
    fn waves_take_their_shares_and_the_last_one_the_rest() {
        assert_eq!(sizes(199, &[10, 100]), [20, 179]);
        assert_eq!(sizes(199, &[1, 5, 25]), [2, 8, 40, 149]);
        assert_eq!(sizes(3, &[10, 50, 100]), [1, 1, 1]);
        assert_eq!(sizes(1, &[10, 50, 100]), [1]);
        assert_eq!(sizes(0, &[10, 100]), [0; 0]);
        assert_eq!(sizes(5, &[]), [5]);
    }

    #[test]
    fn waves_must_rise() {
        for wrong in [&[0, 100][..], &[50, 10], &[101], &[10, 10]] {
            assert!(split(Vec::new(), wrong).unwrap_err().to_string().contains("rise"));
        }
    }
}
