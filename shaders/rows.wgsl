// Elementwise work on rows of the data: one thread computes RUN quads of one row, whose place it looks up once.
//{consts}

fn part(group: u32, lane: u32) {
    let i = group * WORKGROUP + lane;
    let runs = (dims.quads + RUN - 1u) / RUN;
    let row = i / runs;
    if (row >= space_rows()) {
        return;
    }
    source = permute(state.first_row + row);
    let first = i % runs * RUN;
    for (var c = first; c < min(first + RUN, dims.quads); c++) {
        body(row, c);
    }
}
