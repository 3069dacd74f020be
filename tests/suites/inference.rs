//! Models that are used and not trained: opened from files, shared by threads, beside a run that trains them; bound to
//! parts of the host's buffers and recorded into its commands; what they hold on the device.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use crate::common::{gpu, host_buffer, own_gpu, values};
use strait::gpu::Buffer;
use strait::model::Purpose;
use strait::{
    Activation, Corruption, Data, Error, Gpu, Loss, Model, Optimizer, Scaling, Session, Spec, Training, wgpu,
};

const WIDTH: usize = 6;
const CODE: usize = 3;

fn spec() -> Spec {
    Spec { scaling: Scaling::Standardise, ..Spec::symmetric(&[WIDTH, 5, CODE], Activation::Tanh) }
}

fn rows(count: usize) -> Data {
    Data::from_rows(WIDTH, values(81, count * WIDTH, (-1.0, 2.0))).unwrap()
}

fn training() -> Training {
    Training { batch: 4, epochs: 3, ..Training::default() }
}

fn trained(gpu: &Gpu) -> Session {
    let mut session = Session::new(gpu, &spec(), training()).unwrap();
    session.fit(rows(23)).unwrap();
    session
}

/// What a model makes of rows in every way.
fn all(model: &Model, rows: &[f32]) -> Vec<Vec<f32>> {
    let codes = model.encode(rows).unwrap();
    vec![
        model.decode(&codes).unwrap(),
        codes,
        model.reconstruct(rows).unwrap(),
        model.score(rows).unwrap(),
        model.corrupt(rows, 4).unwrap(),
    ]
}

#[test]
fn a_model_computes_what_its_session_did() {
    let folder = tempfile::tempdir().unwrap();
    let (saved, checkpoint, again) =
        (folder.path().join("saved"), folder.path().join("checkpoint"), folder.path().join("again"));
    let session = trained(&gpu());
    session.save(&saved).unwrap();
    session.checkpoint(&checkpoint).unwrap();
    let data = rows(9);
    let expected = all(&session, data.values());
    let kept = session.model();
    let parameters = session.parameters().unwrap();
    drop(session);
    assert!(all(&kept, data.values()) == expected, "the session is gone");
    for path in [&saved, &checkpoint] {
        let model = Model::open(&gpu(), path).unwrap();
        assert!(model.parameters().unwrap() == parameters);
        assert!(all(&model, data.values()) == expected, "{path:?}");
        assert!(model.parameter("decoder.0.bias").unwrap() == parameters[5]);
        model.save(&again).unwrap();
        assert!(std::fs::read(&again).unwrap() == std::fs::read(&saved).unwrap());
    }
    let place = folder.path().join("none");
    assert!(matches!(Model::open(&gpu(), &place), Err(Error::Io { .. })));
    std::fs::write(&place, [9; 40]).unwrap();
    assert!(matches!(Model::open(&gpu(), &place), Err(Error::Checkpoint { .. })));
    assert!(matches!(kept.parameter("nothing"), Err(Error::Data { .. })));
}

/// Trained on from an opened file it goes the way of one that was opened to be trained.
#[test]
fn one_session_at_a_time_trains_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    trained(&gpu()).save(&path).unwrap();
    let model = Model::open(&gpu(), &path).unwrap();
    let training = Training { learning_rate: 0.02, ..training() };
    let mut session = Session::of(&model, training).unwrap();
    match Session::of(&model.clone(), training) {
        Err(Error::Spec { field, .. }) => assert_eq!(field, "model"),
        other => panic!("{other:?}"),
    }
    session.fit(rows(23)).unwrap();
    let mut other = Session::of(&Model::open(&gpu(), &path).unwrap(), training).unwrap();
    other.fit(rows(23)).unwrap();
    assert!(model.parameters().unwrap() == other.parameters().unwrap(), "the handle sees what was learned");
    assert!(model.parameters().unwrap() != Model::open(&gpu(), &path).unwrap().parameters().unwrap());
    // What cannot be trained with leaves it free.
    drop(session);
    let bad = Training { learning_rate: -1.0, ..training };
    assert!(Session::of(&model, bad).is_err());
    drop(Session::of(&model, training).unwrap());
}

/// The frozen tensors that a session learns are known to the model's other handles.
#[test]
fn scaling_is_known_once_it_was_learned() {
    let spec = Spec { corruption: Corruption::SaltAndPepper { probability: 0.2 }, ..spec() };
    let mut session = Session::new(&gpu(), &spec, training()).unwrap();
    let (model, data) = (session.model(), rows(9));
    for unknown in [model.encode(data.values()), model.corrupt(data.values(), 0)] {
        assert!(matches!(unknown, Err(Error::Data { .. })), "{unknown:?}");
    }
    session.load(rows(23)).unwrap();
    assert!(model.encode(data.values()).unwrap() == session.encode(data.values()).unwrap());
    model.corrupt(data.values(), 0).unwrap();
}

/// Four threads, several ways and sizes at once: the bits of one thread.
#[test]
fn threads_share_a_model() {
    let model = trained(&gpu()).model();
    let sizes = [1, 7, 64, 300];
    let data: Vec<Vec<f32>> = sizes.iter().map(|&rows| values(83, rows * WIDTH, (-1.0, 2.0))).collect();
    let expected: Vec<_> = data.iter().map(|rows| all(&model, rows)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (model, data, expected) = (&model, &data, &expected);
            scope.spawn(move || {
                for round in 0..8 {
                    let at = (thread + round) % sizes.len();
                    assert!(all(model, &data[at]) == expected[at], "thread {thread}, round {round}");
                }
            });
        }
    });
}

/// While a session trains it, other threads go on using a model: each result is that of the parameters between two
/// submits, so that all of a call's rows agree, and in the end the trained ones'.
#[test]
fn a_model_is_used_while_it_is_trained() {
    let plain = Training { optimizer: Optimizer::SGD, batch: 4, epochs: 40, learning_rate: 0.2, ..Training::default() };
    let mut alone = Session::new(&gpu(), &spec(), plain).unwrap();
    alone.fit(rows(23)).unwrap();
    let mut session = Session::new(&gpu(), &spec(), plain).unwrap();
    session.load(rows(23)).unwrap();
    let model = session.model();
    let twice: Vec<f32> = [rows(5).values(), rows(5).values()].concat();
    std::thread::scope(|scope| {
        let training = scope.spawn(|| session.fit(rows(23)).unwrap());
        let mut calls = 0;
        while !training.is_finished() || calls < 3 {
            let found = model.reconstruct(&twice).unwrap();
            assert!(found.iter().all(|value| value.is_finite()));
            assert!(found[..5 * WIDTH] == found[5 * WIDTH..], "call {calls}: one state of the parameters");
            calls += 1;
        }
        training.join().unwrap();
    });
    assert!(model.parameters().unwrap() == alone.parameters().unwrap(), "nobody was disturbed");
    assert!(all(&model, rows(5).values()) == all(&alone, rows(5).values()));
}

/// A future that is dropped anywhere gives back what it was lent: nothing piles up, and results stay right.
#[test]
fn dropped_futures_give_their_plan_back() {
    let model = trained(&gpu()).model();
    let data = values(85, 700 * WIDTH, (-1.0, 2.0));
    let expected = model.encode(&data).unwrap();
    let held = model.memory();
    for polls in 0..40 {
        let mut future = pin!(model.encode_async(&data));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls % 4 {
            if future.as_mut().poll(&mut context).is_ready() {
                break;
            }
        }
    }
    assert_eq!(model.memory(), held, "all plans are back");
    assert!(model.encode(&data).unwrap() == expected);
    assert_eq!(model.memory(), held);
}

/// A model that was opened has its parameters and little else; strait's meter and the driver's allocator agree.
/// Rows are looked at part by part. One that is bad is named by its place among all of them, whatever part it is in, and
/// what was computed before it leaves nothing behind.
#[test]
fn a_bad_row_of_a_later_part_is_named() {
    let session = trained(&gpu());
    let mut data = rows(3000).values().to_vec();
    let expected = session.encode(&data).unwrap();
    for (row, column) in [(0, 0), (1023, 5), (1024, 0), (2500, 4), (2999, 5)] {
        let good = std::mem::replace(&mut data[row * WIDTH + column], f32::NAN);
        let told = session.encode(&data).unwrap_err().to_string();
        assert!(told.contains(&format!("row {row}, column {column}")), "{told}");
        data[row * WIDTH + column] = good;
        assert!(session.encode(&data).unwrap() == expected, "after row {row}");
    }
}

#[test]
fn what_a_model_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let wide = Spec::symmetric(&[784, 500, 30], Activation::Tanh).loss(Loss::Bernoulli);
    Session::new(&gpu(), &wide, Training::default()).unwrap().save(&path).unwrap();
    let gpu = own_gpu();
    let allocated = || {
        gpu.wait().unwrap();
        gpu.device()
            .generate_allocator_report()
            .map(|report| report.allocations.iter().map(|allocation| allocation.size).sum::<u64>())
    };
    let before = allocated();
    let model = Model::open(&gpu, &path).unwrap();
    let parameters = 4 * model.tensors().iter().map(|tensor| tensor.shape.elements(1) as u64).sum::<u64>();
    let held = model.memory();
    assert!(held.arenas >= parameters && held.arenas < parameters + (1 << 20), "{held}");
    assert_eq!((held.data, held.values), (0, 0), "{held}");
    assert!(held.other < 1 << 20, "{held}");
    let check = |what: &str| {
        if let (Some(before), Some(after)) = (before, allocated()) {
            let (found, held) = (after - before, model.memory().total());
            assert!(
                found.abs_diff(held) < 1 << 20,
                "{what}: {held} bytes by strait's meter, {found} by the allocator's"
            );
        }
    };
    check("opened");
    let rows = values(86, 16 * 784, (0.0, 1.0));
    model.encode(&rows).unwrap();
    model.score(&rows).unwrap();
    let used = model.memory();
    assert!(used.values > 0 && used.arenas == held.arenas && used.other < 1 << 20, "{used}");
    check("used");
}

/// Rows and results are parts of one buffer of the host's; nothing beside them is touched.
#[test]
fn parts_of_the_hosts_buffer() {
    let gpu = gpu();
    let model = trained(&gpu).model();
    const ROWS: usize = 7;
    let data = rows(ROWS);
    let codes = model.encode(data.values()).unwrap();
    let mut host = vec![-99.0f32; 300];
    host[64..64 + ROWS * WIDTH].copy_from_slice(data.values());
    let raw = host_buffer(&gpu, &host);
    let whole = Buffer::adopt(raw.clone());
    let part = |offset: u64, count: usize| whole.slice(offset, count as u64 * 4);
    let (input, output) = (part(256, ROWS * WIDTH).unwrap(), part(512, ROWS * CODE).unwrap());
    let attached = model.attach(Purpose::Encode, input.clone(), output, ROWS).unwrap();
    attached.run(ROWS).unwrap();
    host[128..128 + ROWS * CODE].copy_from_slice(&codes);
    assert!(gpu.read(&whole, 0, 300).unwrap() == host);
    // Parts of parts.
    let inner = input.slice(WIDTH as u64 * 4, 8).unwrap();
    assert_eq!(gpu.read(&inner, 0, 2).unwrap(), data.values()[WIDTH..WIDTH + 2]);
    for (offset, bytes) in [(1200, 4), (1196, 8), (u64::MAX, 4), (2, 4), (0, 3), (0, u64::MAX)] {
        let refused = whole.slice(offset, bytes);
        assert!(
            matches!(&refused, Err(Error::Spec { field, .. }) if field == "slice"),
            "{offset}, {bytes}: {refused:?}"
        );
    }
    assert!(input.slice(0, ROWS as u64 * WIDTH as u64 * 4 + 4).is_err(), "the part ends there");
    let out = || part(512, ROWS * CODE).unwrap();
    match model.attach(Purpose::Encode, part(260, ROWS * WIDTH).unwrap(), out(), ROWS) {
        Err(Error::Spec { field, value, .. }) => {
            assert_eq!((field.as_str(), value.as_str()), ("input buffer", "bytes from 260 on"));
        }
        other => panic!("{other:?}"),
    }
    match model.attach(Purpose::Encode, input.clone(), part(528, ROWS * CODE).unwrap(), ROWS) {
        Err(Error::Spec { field, .. }) => assert_eq!(field, "output buffer"),
        other => panic!("{other:?}"),
    }
    let short = model.attach(Purpose::Encode, input.slice(0, 4 * WIDTH as u64).unwrap(), out(), ROWS);
    assert!(matches!(short, Err(Error::Limit { .. })), "{short:?}");
}

/// Where a single dispatch reads the rows and writes the results, as in an encoder of one layer, they may still lie in
/// one buffer.
#[test]
fn rows_and_results_of_one_layer_in_one_buffer() {
    let gpu = gpu();
    let model =
        Session::new(&gpu, &Spec::symmetric(&[8, 4], Activation::Identity), Training::default()).unwrap().model();
    const ROWS: usize = 5;
    let data = values(89, ROWS * 8, (-1.0, 1.0));
    let mut host = vec![0.5f32; 192];
    host[..ROWS * 8].copy_from_slice(&data);
    let whole = Buffer::adopt(host_buffer(&gpu, &host));
    for (purpose, width) in [(Purpose::Encode, 4), (Purpose::Reconstruct, 8), (Purpose::Score, 1)] {
        let expected = match purpose {
            Purpose::Encode => model.encode(&data),
            Purpose::Reconstruct => model.reconstruct(&data),
            _ => model.score(&data),
        };
        let (input, output) = (whole.slice(0, 4 * data.len() as u64), whole.slice(512, 4 * (ROWS * width) as u64));
        let attached = model.attach(purpose, input.unwrap(), output.unwrap(), ROWS).unwrap();
        attached.run(ROWS).unwrap();
        assert!(gpu.read(&whole, 128, ROWS * width).unwrap() == expected.unwrap(), "{purpose:?}");
        assert!(gpu.read(&whole, 0, data.len()).unwrap() == data);
    }
}

/// Threads that run one attachment with different numbers of rows do not take each other's.
#[test]
fn threads_share_an_attachment() {
    let gpu = gpu();
    let model = trained(&gpu).model();
    let data = rows(7);
    let from = Buffer::adopt(host_buffer(&gpu, data.values()));
    let to = Buffer::adopt(host_buffer(&gpu, &[-99.0; 7 * CODE]));
    let attached = model.attach(Purpose::Encode, from, to.clone(), 7).unwrap();
    let expected = model.encode(data.values()).unwrap();
    for _ in 0..20 {
        gpu.write(&to, 0, bytemuck::cast_slice(&[-99.0f32; 7 * CODE])).unwrap();
        std::thread::scope(|scope| {
            for count in [2, 7, 1, 5] {
                let attached = &attached;
                scope.spawn(move || attached.run(count).unwrap());
            }
        });
        assert!(gpu.read(&to, 0, 7 * CODE).unwrap() == expected, "the call of all rows computed all of them");
    }
}

/// What is recorded takes its turn among the host's own commands, with its own number of rows, whatever is run between;
/// the model may be gone by then.
#[test]
fn recorded_into_the_hosts_commands() {
    let gpu = gpu();
    let model = trained(&gpu).model();
    const ROWS: usize = 7;
    let (first, second) = (rows(ROWS), values(88, ROWS * WIDTH, (-1.0, 2.0)));
    let expected = [model.encode(first.values()).unwrap(), model.encode(&second).unwrap()];
    let [from, other] = [first.values(), &second].map(|rows| host_buffer(&gpu, rows));
    let [codes, kept, third] = [(); 3].map(|()| host_buffer(&gpu, &[-99.0; ROWS * CODE]));
    let attached =
        model.attach(Purpose::Encode, Buffer::adopt(from.clone()), Buffer::adopt(codes.clone()), ROWS).unwrap();
    drop(model);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    attached.record(&mut encoder, 2).unwrap();
    encoder.copy_buffer_to_buffer(&codes, 0, &kept, 0, codes.size());
    encoder.copy_buffer_to_buffer(&other, 0, &from, 0, from.size());
    attached.record(&mut encoder, ROWS).unwrap();
    encoder.copy_buffer_to_buffer(&codes, 0, &third, 0, codes.size());
    attached.record(&mut encoder, 0).unwrap();
    attached.run(1).unwrap();
    gpu.queue().submit([encoder.finish()]);
    let read = |buffer: &wgpu::Buffer| gpu.read(&Buffer::adopt(buffer.clone()), 0, ROWS * CODE).unwrap();
    let mut begun = vec![-99.0; ROWS * CODE];
    begun[..2 * CODE].copy_from_slice(&expected[0][..2 * CODE]);
    assert_eq!(read(&kept), begun, "two rows, of which one ran before");
    assert_eq!(read(&third), expected[1], "all of the rows that were copied between");
    assert_eq!(read(&codes), expected[1]);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    assert!(matches!(attached.record(&mut encoder, ROWS + 1), Err(Error::Spec { .. })));
}

/// Parameters go into the host's buffer as they are read back, padded or not.
#[test]
fn parameters_are_copied_on_the_device() {
    let gpu = gpu();
    let model = trained(&gpu).model();
    let untouched = [7.5f32; 80];
    for tensor in model.tensors() {
        let buffer = Buffer::adopt(host_buffer(&gpu, &untouched));
        model.copy_parameter(&tensor.name, &buffer, 12).unwrap();
        let mut expected = untouched.to_vec();
        let values = model.parameter(&tensor.name).unwrap();
        expected[3..3 + values.len()].copy_from_slice(&values);
        assert!(gpu.read(&buffer, 0, 80).unwrap() == expected, "{}", tensor.name);
        for offset in [10, 320 - 4 * values.len() as u64 + 4, u64::MAX - 3] {
            let refused = model.copy_parameter(&tensor.name, &buffer, offset);
            match refused {
                Err(Error::Spec { field, value, .. }) => {
                    assert_eq!(field, format!("place for {} in the host's own buffer", tensor.name));
                    assert_eq!(value, format!("{} bytes from byte {offset} on", 4 * values.len()));
                }
                other => panic!("{offset}: {other:?}"),
            }
        }
        assert!(gpu.read(&buffer, 0, 80).unwrap() == expected);
    }
    let buffer = Buffer::adopt(host_buffer(&gpu, &untouched));
    assert!(matches!(model.copy_parameter("bias", &buffer, 0), Err(Error::Data { .. })));
    // Nobody may copy into it.
    let unwritten = Buffer::adopt(usable(&gpu, 320, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC));
    assert_eq!(
        model.copy_parameter("encoder.0.bias", &unwritten, 0).unwrap_err().to_string(),
        "place for encoder.0.bias in the host's own buffer is a buffer of the usages COPY_SRC | STORAGE; allowed: one whose \
         usages have COPY_DST"
    );
}

/// A buffer of the host's for some uses only.
fn usable(gpu: &Gpu, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

/// What attaching refuses says which buffer it is and what it lacks.
#[test]
fn a_buffer_of_other_uses_is_named() {
    let gpu = gpu();
    let model =
        Session::new(&gpu, &Spec::symmetric(&[8, 4], Activation::Identity), Training::default()).unwrap().model();
    let all = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffer = |usage| Buffer::adopt(usable(&gpu, 1024, usage));
    let copied = wgpu::BufferUsages::COPY_DST;
    for (input, output, place) in [(copied, all, "input buffer"), (all, copied, "output buffer")] {
        match model.attach(Purpose::Encode, buffer(input), buffer(output), 4) {
            Err(Error::Spec { field, value, allowed, .. }) => {
                assert_eq!(field, place);
                assert_eq!(value, "a buffer of the usages COPY_DST");
                assert_eq!(allowed, "one whose usages have STORAGE");
            }
            other => panic!("{other:?}"),
        }
    }
    // A single dispatch would read and write one buffer: rows are copied first.
    let whole = buffer(wgpu::BufferUsages::STORAGE);
    match model.attach(Purpose::Encode, whole.slice(0, 128).unwrap(), whole.slice(512, 64).unwrap(), 4) {
        Err(Error::Spec { field, allowed, .. }) => {
            assert_eq!((&field[..], &allowed[..]), ("input buffer", "one whose usages have COPY_SRC"));
        }
        other => panic!("{other:?}"),
    }
    let readable = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    let attached = model.attach(Purpose::Encode, readable.slice(0, 128).unwrap(), readable.slice(512, 64).unwrap(), 4);
    attached.unwrap().run(4).unwrap();
}

#[test]
fn a_model_goes_from_thread_to_thread() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    fn send<T: Send>(_: &T) {}
    let model = trained(&gpu()).model();
    shared(&model);
    send(&model.encode_async(rows(1).values()));
}
