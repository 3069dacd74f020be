// Elementwise work. A workgroup computes a stretch of quads, its threads side by side, each so many of them. Where rows of
// the data are shuffled, a thread stays in one row, so that it looks up its place once.

fn part(group: u32, lane: u32) {
//{if shuffled}
    let i = group * WORKGROUP + lane;
    let runs = (dims.quads + dims.run - 1u) / dims.run;
    let row = i / runs;
    if (row >= space_rows()) {
        return;
    }
    source = permute(state.first_row + row);
    let first = i % runs * dims.run;
    for (var c = first; c < min(first + dims.run, dims.quads); c++) {
        body(row, c);
    }
//{end}
//{if in order}
    let first = group * WORKGROUP * dims.run + lane;
    let end = min(first + WORKGROUP * dims.run, space_rows() * dims.quads);
    for (var i = first; i < end; i += WORKGROUP) {
        let row = row_of(i);
        body(row, i - row * dims.quads);
    }
//{end}
}
