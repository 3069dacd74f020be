// Elementwise work: one thread computes so many neighbouring quads of one row. Where rows of the data are shuffled, it
// looks up the place of its row once.

fn part(group: u32, lane: u32) {
    let i = group * WORKGROUP + lane;
    let runs = (dims.quads + dims.run - 1u) / dims.run;
    let row = i / runs;
    if (row >= space_rows()) {
        return;
    }
//{if shuffled}
    source = permute(state.first_row + row);
//{end}
    let first = i % runs * dims.run;
    for (var c = first; c < min(first + dims.run, dims.quads); c++) {
        body(row, c);
    }
}
