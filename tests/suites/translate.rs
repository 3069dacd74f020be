//! Translation: every kernel variant is valid WGSL without any extra capability and can be written as SPIR-V, MSL and
//! HLSL, so that machines with Metal or DX12 meet no surprise that Vulkan would hide.

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use strait::graph::Tensor;
use strait::graph::{Compare, Distribution, Expr, Graph, Kept, NodeId, Over, Reduction, Set, Shape, Sink};
use strait::internals::graph::{Binary, Function, Scalars};
use strait::internals::kernel::{self, Schedule, Tile};
use strait::internals::plan::{AdapterKind, Dispatch, Limits, Recording, Target};
use strait::internals::state::State;

fn target(kind: AdapterKind, rows: usize) -> Target {
    Target {
        kind,
        limits: Limits::DEFAULT,
        rows,
        data_rows: 100,
        tile: None,
        tuning: None,
        quick: false,
        optimise: true,
    }
}

fn tensor(name: &str, dims: &[usize]) -> Tensor {
    Tensor { name: name.into(), shape: Shape::fixed(dims) }
}

type ByText = BTreeMap<String, (String, Vec<Schedule>)>;

/// The kernels of plans, and those that need features: of the same plans on software adapters with integers of 64 bits,
/// and in half precision.
#[derive(Default)]
struct Kernels(ByText, ByText);

impl Kernels {
    fn add(&mut self, graph: &Graph, target: Target) {
        let limits = Limits { int64: true, ..target.limits };
        let wide = Target { kind: AdapterKind::Software, limits, ..target.clone() };
        let plan = |graph: &Graph, target| Recording::new(graph, target).expect("a plan").dispatches;
        let entry = |d: Dispatch| (d.wgsl, (d.label, d.schedules));
        self.0.extend(plan(graph, target.clone()).into_iter().map(entry));
        self.1.extend(plan(graph, wide).into_iter().map(entry));
        self.1.extend(plan(&graph.halved(), target).into_iter().map(entry));
    }
}

/// Something that uses all an epilogue may: a broadcast row, a repeated column, every function and comparison, a draw.
fn heavy(g: &mut Graph, product: NodeId, row: NodeId, column: NodeId) -> NodeId {
    g.map([product, row, column], |[z, b, s]| {
        let mut y = (&z + b) * s;
        for f in Function::ALL {
            y = y.max(0.1).apply(f);
        }
        for compare in Compare::ALL {
            y = y.select(compare, &z, &z - 1.0, z.min(&y));
        }
        y * Expr::random(Distribution::Normal, 1) / (Expr::rows() + Expr::random(Distribution::Uniform, 2))
    })
    .unwrap()
}

fn products(kernels: &mut Kernels) {
    for tile in Tile::ALL {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            for with_epilogue in [false, true] {
                let (m, k, n) = (5, 6, 7);
                let dims = [if ta { [k, m] } else { [m, k] }, if tb { [n, k] } else { [k, n] }, [1, n], [m, 1]];
                let names = ["a", "b", "row", "column"];
                let mut g =
                    Graph::new(names.iter().zip(&dims).map(|(name, dims)| tensor(name, dims)).collect(), vec![]);
                let p: Vec<NodeId> = (0..4).map(|i| g.param(i).unwrap()).collect();
                let product = g.matmul(p[0], p[1], ta, tb).unwrap();
                if with_epilogue {
                    let y = heavy(&mut g, product, p[2], p[3]);
                    g.sink(Sink::Output(1), y);
                }
                g.sink(Sink::Output(0), product);
                kernels.add(&g, Target { tile: Some(tile), ..target(AdapterKind::Hardware, 1) });
            }
        }
    }
}

/// The tiles whose sums are left in parts, with what makes plans do so: an inner dimension too long for a loop on software
/// adapters, gradients of weights on hardware.
fn in_parts() -> impl Iterator<Item = (Tile, AdapterKind, usize, [bool; 2])> {
    let flags = [[false, false], [false, true], [true, false], [true, true]];
    let kind = |tile: &Tile| match tile {
        Tile::Shared { .. } => Some((AdapterKind::Hardware, 6000)),
        Tile::Registers { .. } | Tile::Subgroup { .. } => Some((AdapterKind::Software, 300_000)),
        Tile::Cooperative { .. } => None,
    };
    let kinds = Tile::ALL.into_iter().filter_map(move |tile| kind(&tile).map(|(kind, inner)| (tile, kind, inner)));
    let all = kinds.flat_map(move |(tile, kind, inner)| flags.map(|flags| (tile, kind, inner, flags)));
    all.filter(|(_, kind, _, [ta, _])| *kind == AdapterKind::Software || *ta)
}

fn sums_in_parts(kernels: &mut Kernels) {
    for (tile, kind, k, [ta, tb]) in in_parts() {
        let dims = [if ta { [k, 5] } else { [5, k] }, if tb { [7, k] } else { [k, 7] }];
        let mut g = Graph::new(vec![tensor("a", &dims[0]), tensor("b", &dims[1])], vec![]);
        let (a, b) = (g.param(0).unwrap(), g.param(1).unwrap());
        let product = g.matmul(a, b, ta, tb).unwrap();
        g.sink(Sink::Output(0), product);
        kernels.add(&g, Target { tile: Some(tile), ..target(kind, 1) });
    }
}

/// Reductions short and long, so that every number of lanes occurs.
fn reductions(kernels: &mut Kernels) {
    for kind in [AdapterKind::Software, AdapterKind::Hardware] {
        for (op, over, rows, columns) in Reduction::ALL.into_iter().flat_map(|op| {
            Over::ALL
                .into_iter()
                .flat_map(move |over| [(3, 5), (200, 300), (9000, 2), (2, 20_000)].map(|(r, c)| (op, over, r, c)))
        }) {
            let mut g = Graph::new(vec![tensor("row", &[columns]), tensor("column", &[2, 1])], vec![]);
            let x = g.input(0, columns * 2);
            let x = g.view(x, Shape::batched(&[2, columns])).unwrap();
            let (row, column) = (g.param(0).unwrap(), g.param(1).unwrap());
            let inner = heavy(&mut g, x, row, column);
            let reduced = g.reduce(op, over, inner);
            let outer = g.map([reduced], |[r]| r.tanh() * 0.5).unwrap();
            g.sink(Sink::Output(0), outer);
            kernels.add(&g, target(kind, rows));
        }
    }
}

/// Elementwise kernels: rows through the permutation and not, with and without padding, views, repetitions.
fn maps(kernels: &mut Kernels) {
    for columns in [7, 8] {
        for shuffled in [false, true] {
            let mut g = Graph::new(vec![tensor("row", &[columns]), tensor("column", &[1])], vec![]);
            let data = g.gather(columns, shuffled);
            let input = g.input(0, columns);
            let sum = g.map([data, input], |[a, b]| a + b).unwrap();
            let (row, column) = (g.param(0).unwrap(), g.param(1).unwrap());
            let all = heavy(&mut g, sum, row, column);
            g.sink(Sink::Output(0), all);
            let flat = g.view(all, Shape::batched(&[columns, 1])).unwrap();
            let rows = g.map([flat], |[f]| f.exp()).unwrap();
            g.sink(Sink::Output(1), rows);
            let ones = g.fill(1.0, Shape::batched(&[columns]));
            g.sink(Sink::Output(2), ones);
            for kind in [AdapterKind::Software, AdapterKind::Hardware] {
                kernels.add(&g, target(kind, 5));
                kernels.add(&g, Target { optimise: false, ..target(kind, 5) });
            }
        }
    }
    let mut g = Graph::new(vec![], vec![]);
    let x = g.input(0, 12);
    for (i, offset) in (-5..4).enumerate() {
        let moved = g.columns(x, offset, 7).unwrap();
        g.sink(Sink::Output(i), moved);
    }
    kernels.add(&g, Target { optimise: false, ..target(AdapterKind::Hardware, 5) });
    let mut g = Graph::new(vec![], vec![]);
    let (a, b) = (g.input(0, 8), g.input(1, 8));
    for (i, op) in Binary::ALL.into_iter().enumerate() {
        let y = g
            .map([a, b], |[a, b]| match op {
                Binary::Add => a + b,
                Binary::Sub => a - b,
                Binary::Mul => a * b,
                Binary::Div => a / b,
                Binary::Max => a.max(b),
                Binary::Min => a.min(b),
            })
            .unwrap();
        g.sink(Sink::Output(i), y);
    }
    kernels.add(&g, target(AdapterKind::Hardware, 5));
}

/// What sinks other than outputs add to a kernel: updates with their flags, gradients, terms.
fn sinks(kernels: &mut Kernels) {
    let scalars = Scalars::new(["rate"]).unwrap();
    let mut g = Graph::new(vec![tensor("w", &[3, 5])], vec![]).with_scalars(scalars);
    let [p, grad, m] =
        [Set::FIRST.arena(Kept::Values), Set::FIRST.arena(Kept::Gradients), Set::FIRST.arena(Kept::First(0))]
            .map(|a| g.arena(a));
    let rate = g.scalar("rate").unwrap();
    let m = g.map([m, grad], |[m, g]| 0.9 * m + 0.1 * g).unwrap();
    let p = g.map([p, m, rate], |[p, m, r]| p - m * r).unwrap();
    g.sink(Sink::Update(Set::FIRST.arena(Kept::First(0))), m);
    g.sink(Sink::Update(Set::FIRST.arena(Kept::Values)), p);
    kernels.add(&g, target(AdapterKind::Hardware, 1));
    let mut g = Graph::new(vec![tensor("w", &[3, 5])], vec![]);
    let w = g.param(0).unwrap();
    let squares = g.map([w], |[w]| w.square()).unwrap();
    let norm = g.sum_all(squares);
    g.term("norm", norm);
    g.sink(Sink::Gradient(0), squares);
    kernels.add(&g, target(AdapterKind::Hardware, 1));
}

fn kernels() -> Kernels {
    let mut kernels = Kernels::default();
    products(&mut kernels);
    sums_in_parts(&mut kernels);
    reductions(&mut kernels);
    maps(&mut kernels);
    sinks(&mut kernels);
    kernels
}

/// The text and the label of every kernel of this suite.
pub fn every_variant() -> impl Iterator<Item = (String, String)> {
    let Kernels(plain, featured) = kernels();
    plain.into_iter().chain(featured).map(|(wgsl, (label, _))| (wgsl, label))
}

/// Validates a kernel and writes it in the other three languages; HLSL has no cooperative matrices.
pub fn translate(what: &str, wgsl: &str) {
    let module = kernel::reflect(what, wgsl).expect(what).module;
    let validate = |module: &naga::Module| {
        let valid = Validator::new(
            ValidationFlags::all(),
            Capabilities::SUBGROUP
                | Capabilities::SHADER_INT64
                | Capabilities::SHADER_FLOAT16
                | Capabilities::COOPERATIVE_MATRIX,
        )
        .validate(module);
        valid.unwrap_or_else(|e| panic!("{what}: {}\n{wgsl}", e.emit_to_string(wgsl)))
    };
    let info = validate(&module);
    let entry = (naga::ShaderStage::Compute, module.entry_points[0].name.clone());
    let (module, info) = process_overrides(&module, &info, Some((entry.0, &entry.1)), &Default::default()).expect(what);
    let options = spv::PipelineOptions { shader_stage: entry.0, entry_point: entry.1.clone() };
    let words = spv::write_vec(&module, &info, &spv::Options::default(), Some(&options)).expect(what);
    assert_eq!(words.first(), Some(&0x0723_0203), "{what}: SPIR-V starts with its magic number");
    let options = msl::PipelineOptions { entry_point: Some(entry.clone()), ..Default::default() };
    let cooperative = wgsl.contains("coop_mat");
    let version = if cooperative { (2, 3) } else { msl::Options::default().lang_version };
    let language = msl::Options { lang_version: version, ..Default::default() };
    let (metal, written) = msl::write_string(&module, &info, &language, &options).expect(what);
    let name = written.entry_point_names[0].as_ref().unwrap_or_else(|e| panic!("{what}: MSL: {e}"));
    assert!(metal.contains(&format!("kernel void {name}(")), "{what}: MSL lacks its entry point\n{metal}");
    if cooperative {
        return;
    }
    let (options, pipeline) = (hlsl::Options::default(), hlsl::PipelineOptions { entry_point: Some(entry) });
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None).expect(what);
    let name = written.entry_point_names[0].as_ref().unwrap_or_else(|e| panic!("{what}: HLSL: {e}"));
    assert!(text.contains(&format!("void {name}(")), "{what}: HLSL lacks its entry point\n{text}");
}

#[test]
fn every_kernel_in_every_language() {
    let Kernels(plain, featured) = kernels();
    for word in ["array<vec2<u64>>", "array<vec4<f16>>", "subgroupBroadcast", "coop_mat8x8", "coop_mat16x16"] {
        assert!(featured.keys().any(|wgsl| wgsl.contains(word)), "no kernel uses {word}");
    }
    for (wgsl, (label, _)) in plain.iter().chain(&featured) {
        translate(label, wgsl);
    }
    translate("finish", &kernel::finish());
}

/// The suite above would prove little if the plans chose few variants.
#[test]
fn the_suite_meets_every_variant() {
    let kernels = kernels();
    let among = |texts: &ByText, schedule: Schedule| texts.values().filter(|(_, s)| *s == [schedule]).count();
    let met = |schedule: Schedule| among(&kernels.0, schedule);
    for lanes in [1, 64, 256] {
        for schedule in [Schedule::ReduceColumns { lanes }, Schedule::ReduceRows { lanes }] {
            assert!(met(schedule) > 0, "{schedule:?}");
        }
    }
    for tile in Tile::ALL {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let schedule = Schedule::MatMul { tile, ta, tb, parts: 1 };
            let times = if tile.suits(false) { met(schedule) } else { among(&kernels.1, schedule) };
            assert_eq!(times, 2, "{tile} {ta} {tb}");
        }
    }
    for (tile, _, _, [ta, tb]) in in_parts() {
        let of = |s: &Schedule| matches!(*s, Schedule::MatMul { tile: t, ta: a, tb: b, parts: 2.. } if (t, a, b) == (tile, ta, tb));
        assert!(kernels.0.values().any(|(_, schedules)| schedules.iter().any(of)), "{tile} {ta} {tb} in parts");
    }
    for (shuffled, some) in [(false, 8), (true, 1)] {
        let maps = met(Schedule::Map { run: 1, shuffled });
        assert!(maps >= some, "{maps} maps, shuffled {shuffled}");
    }
    let count = |word: &str| kernels.0.keys().filter(|text| text.contains(word)).count();
    for word in [
        ".yzw, v",
        ".zw, v",
        ".w, v",
        "permute(",
        "random_uniform(",
        "random_normal(",
        "array<f32>;",
        "atomic<u32>",
        "state.update_row",
    ] {
        assert!(count(word) > 0, "no kernel uses {word}");
    }
}

/// The struct of shaders/state.wgsl is the one of src/state.rs, member by member.
#[test]
fn the_state_is_the_same_on_both_sides() {
    let module = kernel::reflect("finish", &kernel::finish()).unwrap().module;
    let (_, state) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some("State")).expect("a State");
    let naga::TypeInner::Struct { members, span } = &state.inner else { panic!("State is no struct") };
    assert_eq!(*span as usize, size_of::<State>());
    let spare = offset_of!(State, spare);
    let seed = offset_of!(State, seed);
    let expected = [
        ("step", offset_of!(State, step)),
        ("rows", offset_of!(State, rows)),
        ("seed0", seed),
        ("seed1", seed + 4),
        ("first_row", offset_of!(State, first_row)),
        ("count", offset_of!(State, count)),
        ("batch", offset_of!(State, batch)),
        ("epoch", offset_of!(State, epoch)),
        ("halted", offset_of!(State, halted)),
        ("bad_step", offset_of!(State, bad_step)),
        ("bad_term", offset_of!(State, bad_term)),
        ("table_row", offset_of!(State, table_row)),
        ("ragged", offset_of!(State, ragged)),
        ("update_row", offset_of!(State, update_row)),
        ("spare0", spare),
        ("spare1", spare + 4),
    ];
    let found: Vec<(&str, usize)> =
        members.iter().map(|m| (m.name.as_deref().unwrap_or(""), m.offset as usize)).collect();
    assert_eq!(found, expected);
    for member in members {
        let naga::TypeInner::Scalar(scalar) = module.types[member.ty].inner else { panic!("{:?}", member.name) };
        assert_eq!(scalar, naga::Scalar { kind: naga::ScalarKind::Uint, width: 4 }, "{:?}", member.name);
    }
}

/// The constants that the host shares with finish.wgsl.
#[test]
fn the_ring_is_the_same_on_both_sides() {
    let module = kernel::reflect("finish", &kernel::finish()).unwrap().module;
    let constant = |name: &str| {
        let (_, found) = module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(name)).expect(name);
        match module.global_expressions[found.init] {
            naga::Expression::Literal(naga::Literal::U32(v)) => v as usize,
            ref other => panic!("{name} is {other:?}"),
        }
    };
    assert_eq!([constant("RING"), constant("TERMS")], [kernel::RING, kernel::TERMS]);
}
