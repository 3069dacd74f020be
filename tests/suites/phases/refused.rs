//! Runs that cannot be, each refused by name.

use super::*;

pub(crate) fn refused(run: Run) -> [String; 3] {
    match run.check() {
        Err(Error::Spec { field, value, allowed, .. }) => [field, value, allowed],
        other => panic!("{:?}", other.map(|()| "nothing was refused")),
    }
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let fine = || run(false, false);
    fine().check().unwrap();
    let with = |change: &dyn Fn(&mut Run)| {
        let mut run = fine();
        change(&mut run);
        refused(run)
    };
    let step = "phases[\"players\"].steps[\"critic\"]";
    let place = |change: &dyn Fn(&mut Run)| with(change)[0].clone();
    assert_eq!(with(&|run| run.phases.clear()), ["phases", "none", "at least one"]);
    assert_eq!(with(&|run| run.phases[1].name = "alone".into())[1], "\"alone\" twice");
    assert_eq!(place(&|run| run.phases[1].batch = 0), "phases[\"players\"].batch");
    assert_eq!(place(&|run| run.phases[1].steps.clear()), "phases[\"players\"].steps");
    let range = |low: f32, high: f32| with(&|run| run.phases[1].range = Some([low, high]));
    let finite = "from a finite number to no smaller one";
    assert_eq!(range(1.0, 0.5), ["phases[\"players\"].range", "1 to 0.5", finite]);
    assert_eq!(range(f32::NAN, 1.0)[1..], ["NaN to 1", finite]);
    assert_eq!(range(0.0, f32::INFINITY)[2], finite);
    assert_eq!(with(&|run| run.phases[1].steps[1].name = "critic".into())[1], "\"critic\" twice");
    assert_eq!(place(&|run| run.phases[1].steps[0].repeat = 0), format!("{step}.repeat"));
    assert_eq!(with(&|run| run.phases[1].steps[0].repeat = 256)[1..], ["258", "at most 256 in a turn"]);
    assert_eq!(with(&|run| run.phases[1].steps[0].repeat = u64::MAX)[2], "at most 256 in a turn");
    let update = |change: &dyn Fn(&mut Update)| with(&|run| change(&mut run.phases[1].steps[0].updates[0]));
    let named = |field: &str| format!("{step}.updates[0].{field}");
    assert_eq!(update(&|u| u.sets.clear())[0], named("sets"));
    assert_eq!(update(&|u| u.sets = vec![Set(4)]), [named("sets"), "4".into(), "below 4".into()]);
    assert_eq!(update(&|u| u.sets = vec![CRITIC, ENCODER])[1], "w without one");
    assert_eq!(update(&|u| u.learning_rate = f64::NAN)[0], named("learning_rate"));
    assert_eq!(update(&|u| u.clip_norm = Some(-1.0))[0], named("clip_norm"));
    assert_eq!(
        update(&|u| u.optimizer = Optimizer::Sgd { momentum: 1.0, nesterov: false })[0],
        named("optimizer.momentum")
    );
    let never = Schedule { warm_up: 0, decay: Decay::Cosine { steps: Some(0) } };
    assert_eq!(update(&|u| u.schedule = never)[0], named("schedule.decay.steps"));
    let twice = with(&|run| run.phases[1].steps[1].updates[1].sets = vec![DECODER, ENCODER]);
    assert_eq!(twice[1], "\"encoder\" twice");
    let state = |state: Set| with(&|run| run.phases[1].steps[2].state = vec![state]);
    assert_eq!(state(Set(4))[1..], ["4", "below 4"]);
    assert_eq!(state(CRITIC)[1], "c without one");
    let both = with(&|run| run.phases[1].steps[0].updates[0].sets = vec![STATE]);
    assert_eq!(both[1], "mean without one");
    let trained = with(&|run| run.phases[1].steps[1].state = vec![DECODER]);
    assert_eq!(trained[1], "\"decoder\" is trained, too");
    // Graphs.
    let other = |change: &dyn Fn(&Run) -> Graph| with(&|run| run.phases[1].steps[0].graph = change(run));
    let bare = other(&|_| Run::new(sets(), vec![]).unwrap().graph());
    assert_eq!(bare[0], format!("{step}.graph"));
    let graph = |run: &Run, add: &dyn Fn(&mut Graph) -> NodeId| {
        let mut g = run.phases[1].steps[0].graph.clone();
        let node = add(&mut g);
        let sum = g.sum_all(node);
        g.term("more", sum);
        g
    };
    assert_eq!(other(&|run| graph(run, &|g| g.input(0, 3)))[1], "input 0, which nobody writes");
    let updates = other(&|run| {
        let mut g = run.phases[1].steps[0].graph.clone();
        let values = g.arena(CRITIC.arena(Kept::Values));
        let twice = g.map([values], |[v]| 2.0 * v).unwrap();
        g.sink(Sink::Update(CRITIC.arena(Kept::Values)), twice);
        g
    });
    assert_eq!(updates[1], "an update of \"critic\"");
    let moments = other(&|run| graph(run, &|g| g.arena(ENCODER.arena(Kept::First(0)))));
    assert_eq!(moments[1], "first moments of a set");
    let terms = other(&|run| {
        let mut g = run.phases[1].steps[0].graph.clone();
        for i in 0..15 {
            let more = g.fill(f64::from(i), Shape::scalar());
            g.term(&format!("more {i}"), more);
        }
        g
    });
    assert_eq!(terms[1..], ["17", "at most 16"]);
    let mut unsound = fine();
    let g = &mut unsound.phases[1].steps[0].graph;
    let row = g.gather(COLUMNS, false);
    g.sink(Sink::Gradient(0), row);
    match unsound.check() {
        Err(Error::Shape { op, .. }) => assert!(op.starts_with(&format!("{step}.graph: ")), "{op}"),
        other => panic!("{other:?}"),
    }
    let wide = other(&|run| {
        let mut g = run.graph();
        let (x, c) = (g.gather(7, false), g.param(3).unwrap());
        let sum = g.sum_all(x);
        let gradient = g.map([c, sum], |[c, s]| c * s).unwrap();
        g.sink(Sink::Gradient(3), gradient);
        g
    });
    assert_eq!(
        wide[1..],
        ["rows of 5 columns, shuffled: false", "the same rows for all: of 7 columns, shuffled: false"]
    );
    // Without data.
    let mut run = empty();
    let mut g = run.graph();
    let c = g.param(3).unwrap();
    let sum = g.sum_all(c);
    g.term("sum", sum);
    run.phases = vec![Phase::new("none", [Step::new("one", g, [])])];
    assert_eq!(refused(run)[1], "graphs that read no data");
    // Scalars.
    let scalar = |name: &str, value: f64, ramp: Ramp| match empty().scalar(name, value, ramp) {
        Err(Error::Spec { field, value, .. }) => [field, value],
        other => panic!("{:?}", other.map(|_| "nothing was refused")),
    };
    assert_eq!(scalar("fooling", 1.0, Ramp::constant())[1], "\"fooling\" twice");
    assert_eq!(scalar("learning_rate", 1.0, Ramp::constant())[1], "\"learning_rate\" twice");
    assert_eq!(scalar("a", f64::NAN, Ramp::constant())[0], "ramps[\"a\"]");
    assert_eq!(scalar("a", 1e39, Ramp::constant())[0], "ramps[\"a\"]");
    assert_eq!(scalar("a", 1.0, Ramp { end: 0.05, ..RAMP })[0], "ramps[\"a\"].end");
    assert_eq!(scalar("a", -1.0, Ramp { from: 1.0, curve: Curve::Exponential, ..RAMP })[0], "ramps[\"a\"].curve");
    // Rows of another width, and none.
    let mut trainer = begun(&gpu(), fine());
    assert!(matches!(trainer.step(1), Err(Error::Data { .. })), "nothing was loaded");
    let narrow = Data::from_rows(4, vec![0.0; 8]).unwrap();
    match trainer.load(narrow) {
        Err(Error::Data { place, allowed, .. }) => {
            assert!(place.ends_with("columns") && allowed.starts_with("5, "), "{place}: {allowed}");
        }
        other => panic!("{other:?}"),
    }
    match trainer.set_parameters(&initial()[1..]) {
        Err(Error::Data { place, .. }) => assert_eq!(place, "parameters"),
        other => panic!("{other:?}"),
    }
    match trainer.set_constants(&[vec![1.0]]) {
        Err(Error::Data { place, .. }) => assert_eq!(place, "constants"),
        other => panic!("{other:?}"),
    }
    trainer.set_constants(&[]).unwrap();
    let mut frozen = Run::new(sets(), vec![tensor("frozen", &[2])]).unwrap();
    frozen.phases = fine().phases;
    frozen.phases.truncate(1);
    frozen.phases[0].steps = vec![{
        let mut g = frozen.graph();
        let (x, c) = (g.gather(COLUMNS, false), g.constant(0).unwrap());
        let (x, c) = (g.sum_all(x), g.sum_all(c));
        g.term("x", x);
        g.term("c", c);
        Step::new("sum", g, [])
    }];
    let mut trainer = Trainer::new(&gpu(), frozen).unwrap();
    match trainer.set_constants(&[vec![1.0, f32::NAN]]) {
        Err(Error::Data { place, .. }) => assert_eq!(place, "frozen"),
        other => panic!("{other:?}"),
    }
    trainer.set_constants(&[vec![1.0, 2.0]]).unwrap();
    let found = trainer.fit(data()).unwrap().history[0].terms[1].clone();
    assert_eq!(found, ("sum.c".into(), 3.0));
}
