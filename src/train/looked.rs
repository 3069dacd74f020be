//! Validation rows before they are looked at: every one is checked, as rows that are trained on are; and which rows of the
//! caller's own a run has looked at, since files keep what it saw of them and not the rows.

use serde::{Deserialize, Serialize};

use super::feed::scan;
use super::progress::Told;
use super::scaling::check_label_rows;
use crate::data::Source;
use crate::error::Result;
use crate::gpu::Wait;
use crate::model::Network;

/// Rows, by their number and a checksum of their values in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Looked {
    pub rows: u64,
    checksum: u64,
}

impl Looked {
    /// Those of a source: FNV-1a over the bits of their values, a value at a time (Fowler, Noll and Vo, 64 bits).
    ///
    /// # Errors
    /// [`crate::Error::Data`] naming the row where a value is not finite, or its labels are none of the network's; as the source.
    pub async fn at(network: &Network, source: &dyn Source, how: Wait, told: Told<'_>) -> Result<Looked> {
        let (mut checksum, columns) = (0xCBF2_9CE4_8422_2325u64, source.columns());
        scan(source, how, told, |first, values| {
            let hashed = |sum: u64, value: &f32| (sum ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01B3);
            checksum = values.iter().fold(checksum, hashed);
            check_label_rows(network, source.name(), columns, first, values)
        })
        .await?;
        Ok(Looked { rows: source.rows() as u64, checksum })
    }
}
