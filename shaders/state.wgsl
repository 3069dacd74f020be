// What changes from step to step: read by every kernel, advanced by finish.wgsl, set by the host between submits.
struct State {
    step: u32,       // steps taken
    rows: u32,       // rows in the current batch
    seed0: u32,      // low word of the seed
    seed1: u32,      // high word
    first_row: u32,  // where the batch starts in the resident rows
    count: u32,      // resident rows
    batch: u32,      // rows in a full batch
    epoch: u32,      // passes over the resident rows
    halted: u32,     // 1 once a step went bad: no parameter is written any more
    bad_step: u32,   // the step in which it happened
    bad_term: u32,   // the term that was not finite
    table_row: u32,  // the row of scalars of the step that comes, which its passes read
    ragged: u32,     // whether the last, smaller batch of an epoch is used
    update_row: u32, // the row of scalars of the step whose update comes
    spare0: u32,
    spare1: u32,
}
