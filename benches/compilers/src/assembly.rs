//! Counts what the main loop of a kernel executes, in the text of AMD's machine code as Mesa prints it: labels at the
//! beginning of blocks, an instruction a line, what follows a semicolon is its encoding.

/// What a thread executes in one turn of the main loop, the loop with the most multiply-adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Multiply-adds of single values in single precision: a packed or a dual instruction has two.
    pub multiply_adds: usize,
    /// Products of matrices, which a subgroup computes together.
    pub matrix_products: usize,
    /// Reads of workgroup memory, and
    pub local_reads: usize,
    /// their bytes.
    pub local_bytes: usize,
    /// Writes to workgroup memory.
    pub local_writes: usize,
    /// Reads of buffers, and
    pub buffer_reads: usize,
    /// their bytes.
    pub buffer_bytes: usize,
    /// All instructions.
    pub instructions: usize,
}

impl Turn {
    /// The main loop of this text, if it has one that multiplies. What stands behind a condition counts as executed.
    pub fn of(assembly: &str) -> Option<Turn> {
        let mut labels: Vec<(&str, usize)> = Vec::new();
        let mut lines: Vec<&str> = Vec::new();
        let mut best: Option<Turn> = None;
        for line in assembly.lines() {
            let line = line.split(';').next().unwrap_or_default().trim();
            let name = line.split_whitespace().next().unwrap_or_default();
            if let Some(label) = line.strip_suffix(':') {
                labels.push((label, lines.len()));
                continue;
            }
            // Blank lines, and notes such as that an instruction is repeated.
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            lines.push(line);
            if !name.starts_with("s_branch") && !name.starts_with("s_cbranch") {
                continue;
            }
            // A branch back to a label that is known already ends a loop.
            let target = line.split_whitespace().last().unwrap_or_default();
            let Some(&(_, start)) = labels.iter().find(|(label, _)| *label == target) else { continue };
            let turn = lines[start..].iter().fold(Turn::default(), |turn, line| turn.and(line));
            let work = |turn: &Turn| (turn.multiply_adds, turn.matrix_products);
            if work(&turn) > best.as_ref().map(work).unwrap_or_default() {
                best = Some(turn);
            }
        }
        best
    }

    /// One instruction more.
    fn and(mut self, line: &str) -> Turn {
        let name = line.split_whitespace().next().unwrap_or_default();
        self.instructions += 1;
        if name.starts_with("v_dual_") {
            self.multiply_adds += line.matches("v_dual_fma").count();
        } else if name.starts_with("v_pk_fma_f32") {
            self.multiply_adds += 2;
        } else if ["v_fma", "v_mad", "v_mac"].iter().any(|start| name.starts_with(start)) && name.contains("_f32") {
            self.multiply_adds += 1;
        } else if name.starts_with("v_wmma") || name.starts_with("v_mfma") {
            self.matrix_products += 1;
        } else if name.starts_with("ds_read") || name.starts_with("ds_load") {
            self.local_reads += 1;
            self.local_bytes += bytes(name);
        } else if name.starts_with("ds_write") || name.starts_with("ds_store") {
            self.local_writes += 1;
        } else if name.starts_with("buffer_load") || name.starts_with("global_load") {
            self.buffer_reads += 1;
            self.buffer_bytes += bytes(name);
        }
        self
    }
}

/// Bytes that a load brings a thread, by its name: `ds_read2_b64` and `ds_load_2addr_b64` read two places.
fn bytes(name: &str) -> usize {
    let widths = [
        ("b128", 16),
        ("b96", 12),
        ("b64", 8),
        ("b32", 4),
        ("dwordx4", 16),
        ("dwordx3", 12),
        ("dwordx2", 8),
        ("dword", 4),
        ("u8", 1),
        ("i8", 1),
        ("byte", 1),
        ("16", 2),
        ("short", 2),
    ];
    let twice = name.starts_with("ds_read2") || name.contains("_2addr");
    let width = widths.iter().find(|(part, _)| name.contains(part)).map_or(0, |&(_, bytes)| bytes);
    if twice { 2 * width } else { width }
}
