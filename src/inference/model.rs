//! The model: its parameters on the GPU and what is computed with them, from any thread.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::compiled::Compiled;
use super::file::{self, ModelFile, Weights};
use super::foreign::named_parameters;
use super::memory::Memory;
use super::resident::Resident;
use crate::error::{Error, Result, finite_rows};
use crate::gpu::{Buffer, Gpu, Wait, apart, lock};
use crate::graph::{Graph, Kept, Op, Tensor};
use crate::model::{Corruption, Meanings, Network, Precision, Purpose, Scaling, Spec};
use crate::plan::{Role, Target, Tuning};

/// A model on the GPU: parameters, and inference with them. It trains nothing and keeps nothing for that; a
/// [`crate::Session`] has one and trains it.
///
/// Cloning gives another handle to the same model. All its methods take `&self`, so that threads share it: each call
/// takes a compiled plan of its own. While a session trains the model on another thread, rows of a call that are
/// computed together (1,024; on an adopted device as many as keep it busy for about 4 ms, 64 at least) are so with the parameters
/// as they are between two steps; what reads tensors one by one ([`Model::parameters`],
/// [`Model::save`]) may then have them of different steps, so save from the session.
///
/// ```no_run
/// use strait::{Gpu, Model};
///
/// let model = Model::open(&Gpu::new()?, "digits.safetensors")?;
/// let codes = model.encode(&vec![0.0; 64])?;
/// let other = model.clone();
/// let thread = std::thread::spawn(move || other.decode(&codes));
/// # Ok::<(), strait::Error>(())
/// ```
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    network: Network,
    resident: Resident,
    /// Whether the frozen tensors are known: the scaling of the input, and what its corruption needs.
    known: AtomicBool,
    /// The tiles that were measured.
    tuning: Mutex<Arc<Tuning>>,
    /// Plans that nobody is using, by what they are for.
    compiled: Mutex<BTreeMap<Purpose, Vec<Compiled>>>,
    /// Whether something trains it.
    trained: AtomicBool,
}

/// Plans of one purpose that are kept while nobody uses them: as many as threads may well compute at once.
const KEPT: usize = 4;

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("gpu", self.gpu()).field("spec", self.spec()).finish()
    }
}

impl Model {
    /// Reads a model that was saved by [`Model::save`], or a checkpoint, of which it takes the model alone.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor or metadata key where the file is not what it should be; [`Error::Io`];
    /// [`Error::Limit`] where the adapter cannot hold the model, [`Error::Spec`] where it is in half precision and the
    /// adapter is not.
    pub fn open(gpu: &Gpu, path: impl AsRef<Path>) -> Result<Model> {
        Model::open_with(gpu, path, &Meanings::new())
    }

    /// [`Model::open`] of a model whose spec names losses or penalties of the caller's own, with what the names mean.
    ///
    /// # Errors
    /// As [`Model::open`]; [`Error::Spec`] where a name is not given.
    pub fn open_with(gpu: &Gpu, path: impl AsRef<Path>, meanings: &Meanings) -> Result<Model> {
        let mut file = ModelFile::open(path.as_ref(), meanings)?;
        file.check(&file.kept(), false)?;
        let model = Model::blank(gpu, file.network().clone())?;
        file.fill(&model)?;
        Ok(model)
    }

    /// A model of this spec with the parameters that another program wrote, PyTorch for example; `names` pairs the
    /// names of its layers with the file's, as [`crate::Session::load_parameters_named`] says.
    ///
    /// ```no_run
    /// use strait::{Activation, Gpu, Model, Spec, Weights};
    ///
    /// // nn.Sequential(nn.Linear(784, 32), nn.ELU(), nn.Linear(32, 784)), saved by safetensors.torch.save_file
    /// let spec = Spec::symmetric(&[784, 32], Activation::Elu).code_activation(Activation::Elu);
    /// let names = [("encoder.0", "0"), ("decoder.0", "2")];
    /// let model = Model::with_parameters(&Gpu::new()?, &spec, "pytorch.safetensors", Weights::OutIn, &names)?;
    /// let codes = model.encode(&vec![0.0; 784])?;
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`crate::Session::load_parameters_named`] and [`Spec::check`]; [`Error::Limit`] and [`Error::Spec`] as
    /// [`Model::open`].
    pub fn with_parameters(
        gpu: &Gpu,
        spec: &Spec,
        path: impl AsRef<Path>,
        weights: Weights,
        names: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<Model> {
        let network = Network::new(spec)?;
        let values = named_parameters(path.as_ref(), &network, weights, names)?;
        Model::holding(gpu, network, &values)
    }

    /// The same from values in the order of the network's tensors.
    pub(crate) fn holding(gpu: &Gpu, network: Network, values: &[Vec<f32>]) -> Result<Model> {
        let model = Model::blank(gpu, network)?;
        model.hold(values)?;
        Ok(model)
    }

    /// Gives the trainable tensors values, in their order.
    pub(crate) fn hold(&self, values: &[Vec<f32>]) -> Result<()> {
        self.resident().write_all(Kept::Values, "parameters", values)?;
        // What was written is held twice until something is submitted.
        self.gpu().submit([])
    }

    /// The same before anything is written into the parameters, which are 0.
    pub(crate) fn blank(gpu: &Gpu, network: Network) -> Result<Model> {
        let network = network.within(gpu.limits().binding_bytes);
        let resident = Resident::new(gpu, network.tensors())?;
        Model::over(network, &resident)
    }

    /// The model of a network whose sets are the first of those that are there, and whose frozen tensors are theirs.
    pub(crate) fn over(network: Network, resident: &Resident) -> Result<Model> {
        let spec = network.spec();
        if spec.precision == Precision::F16 && !resident.gpu.limits().f16 {
            return Err(Error::spec("precision", "f16", "f32 on a device without the feature SHADER_F16"));
        }
        // What a spec says itself need not be learned.
        let missing = match (spec.scaling, &spec.corruption) {
            (Scaling::None, Corruption::Missing { keep }) => {
                Some(vec![keep.iter().map(|&k| f32::from(u8::from(k))).collect()])
            }
            _ => None,
        };
        let resident = resident.first(network.tensors());
        let known = AtomicBool::new(network.constants().is_empty());
        let (tuning, compiled, trained) = Default::default();
        let model = Model(Arc::new(Inner { network, resident, known, tuning, compiled, trained }));
        if let Some(missing) = missing {
            model.set_constants(&missing)?;
        }
        Ok(model)
    }

    /// Writes the model: parameters, scaling and spec. Anything that reads safetensors can read it; weights are
    /// [in, out].
    ///
    /// A regular file that is there is replaced in one go and keeps its permissions, also through links. The new one is
    /// written beside it under the same name with `.strait-part` added; what a process that was killed left under that
    /// name goes with the next call.
    ///
    /// # Errors
    /// [`Error::Io`], of the kind `ResourceBusy` where another process or thread is writing the same file, and
    /// [`Error::Device`] or [`Error::DeviceLost`] where the parameters cannot be read back. The file is whole or
    /// untouched.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        file::write(path.as_ref(), self, self.resident(), None)
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        self.0.network.spec()
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.0.resident.gpu
    }

    /// The trainable tensors by name: `encoder.0.weight` `[in, out]`, `encoder.0.bias` `[out]` and so on.
    pub fn tensors(&self) -> &[Tensor] {
        self.0.network.params()
    }

    /// Reads the trainable tensors back, row-major, in the order of [`Model::tensors`].
    ///
    /// # Errors
    /// [`Error::Device`] or [`Error::DeviceLost`].
    pub fn parameters(&self) -> Result<Vec<Vec<f32>>> {
        self.resident().read_all(Kept::Values)
    }

    /// Reads one trainable tensor back, row-major, by its name.
    ///
    /// ```no_run
    /// # use strait::{Gpu, Model};
    /// # let model = Model::open(&Gpu::new()?, "model.safetensors")?;
    /// let weights = model.parameter("encoder.0.weight")?;
    /// assert_eq!(weights.len(), 64 * 8);
    /// # Ok::<(), strait::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] where there is none of this name; [`Error::Device`] or [`Error::DeviceLost`].
    pub fn parameter(&self, name: &str) -> Result<Vec<f32>> {
        self.resident().read(Kept::Values, self.tensor(name)?)
    }

    /// Copies one trainable tensor, by its name, into the host's buffer on the same device, row-major without padding,
    /// from the byte `offset` on. Nothing is read back and nothing waits. Rows whose width is no multiple of eight (of four, up to
    /// four) are padded in memory and take a command each, some 1.5 µs of the calling thread: .6 ms for 784 rows, 120 to 240 ms for
    /// 100,000 (two cores, 2026-11-27). All others take one together.
    ///
    /// # Errors
    /// [`Error::Data`] where there is none of this name; [`Error::Spec`] where the place is no multiple of four, the
    /// buffer too small or without the usage `COPY_DST`; [`Error::Device`] and [`Error::DeviceLost`].
    pub fn copy_parameter(&self, name: &str, buffer: &Buffer, offset: u64) -> Result<()> {
        self.resident().copy_out(self.tensor(name)?, buffer, offset)
    }

    /// The number of a trainable tensor.
    fn tensor(&self, name: &str) -> Result<usize> {
        let found = self.tensors().iter().position(|tensor| tensor.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
            Error::data("parameter", format!("{name:?}"), names.join(", "))
        })
    }

    /// What the model holds on the device now: its parameters, and for each way in which it was used the values of a
    /// batch. Plans that other threads are using at this moment are not counted.
    pub fn memory(&self) -> Memory {
        Memory::of(self.held())
    }

    /// The buffers of [`Model::memory`], by their roles.
    pub(crate) fn held(&self) -> Vec<(Option<Role>, Buffer)> {
        let plans = lock(&self.0.compiled);
        let plans = plans.values().flatten().flat_map(Compiled::held);
        plans.chain(self.resident().held()).map(|(role, buffer)| (role, buffer.clone())).collect()
    }

    /// The network.
    pub(crate) fn network(&self) -> &Network {
        &self.0.network
    }

    /// Its tensors.
    pub(crate) fn resident(&self) -> &Resident {
        &self.0.resident
    }

    /// What every program of this model shares, for one that runs `graph`.
    pub(crate) fn buffers(&self, graph: &Graph) -> Result<&BTreeMap<Role, Buffer>> {
        self.check_known(graph)?;
        Ok(&self.resident().shared)
    }

    /// The tiles that were measured for this model, or given to it.
    pub(crate) fn tuning(&self) -> Arc<Tuning> {
        lock(&self.0.tuning).clone()
    }

    /// Uses other tiles from now on.
    pub(crate) fn set_tuning(&self, tuning: Arc<Tuning>) {
        *lock(&self.0.tuning) = tuning;
        lock(&self.0.compiled).clear();
    }

    /// What is planned for: batches of up to `rows` rows.
    pub(crate) fn target(&self, rows: usize) -> Target {
        Target { tuning: Some(self.tuning()), ..Target::of(self.gpu(), rows) }
    }

    /// A plan for at least so many rows, or for as many as fit.
    pub(super) async fn take(&self, purpose: Purpose, rows: usize, how: Wait) -> Result<Compiled> {
        let tuning = self.tuning();
        let found = {
            let mut all = lock(&self.0.compiled);
            let plans = all.entry(purpose).or_default();
            match plans.iter().position(|plan| plan.asked >= rows) {
                Some(at) => Some(plans.swap_remove(at)),
                None => {
                    // A larger one takes the place of one that is too small.
                    plans.pop();
                    None
                }
            }
        };
        match found {
            Some(plan) => Ok(plan),
            None => {
                let model = self.clone();
                apart(how, &mut |()| {}, move |_| Compiled::new(&model, purpose, rows, tuning)).await
            }
        }
    }

    /// Gives a plan back for others to use.
    pub(super) fn give_back(&self, purpose: Purpose, plan: Compiled) {
        // Under both locks, so that none of an older tuning comes back after it was replaced.
        let tuning = lock(&self.0.tuning);
        let mut all = lock(&self.0.compiled);
        let plans = all.entry(purpose).or_default();
        if Arc::ptr_eq(&tuning, &plan.tuning) && plans.len() < KEPT {
            plans.push(plan);
        }
    }

    /// Whether the frozen tensors are known.
    pub(crate) fn is_known(&self) -> bool {
        self.0.known.load(Ordering::Acquire)
    }

    /// Replaces the frozen tensors, which are known from then on.
    pub(crate) fn set_constants(&self, values: &[Vec<f32>]) -> Result<()> {
        self.resident().set_constants(values)?;
        self.know_constants();
        Ok(())
    }

    /// Whoever has written the frozen tensors says that they are known from now on.
    pub(crate) fn know_constants(&self) {
        self.0.known.store(true, Ordering::Release);
    }

    /// Takes the model for training; nobody else does before [`Model::end_training`].
    pub(crate) fn begin_training(&self) -> Result<()> {
        match self.0.trained.swap(true, Ordering::AcqRel) {
            false => Ok(()),
            true => Err(Error::spec("model", "one that another session trains", "one that none trains")),
        }
    }

    /// Leaves it to be trained by others.
    pub(crate) fn end_training(&self) {
        self.0.trained.store(false, Ordering::Release);
    }

    /// The number of rows in `values`, which must be whole and finite.
    pub(crate) fn check_rows(&self, values: &[f32], width: usize, what: &str) -> Result<usize> {
        let count = whole_rows(values, width, what)?;
        finite_rows(what, width, 0, values)?;
        Ok(count)
    }

    /// Fails where a graph reads a frozen tensor that is not learned yet. What salt and pepper needs is read by no
    /// graph that corrupts nothing.
    pub(crate) fn check_known(&self, graph: &Graph) -> Result<()> {
        if self.is_known() {
            return Ok(());
        }
        let read = graph.nodes().filter_map(|(_, node)| match node.op {
            Op::Constant(i) => self.network().constants().get(i).map(|tensor| tensor.name.as_str()),
            _ => None,
        });
        // Where both are missing, the scaling tells what the ends are of.
        let place = match read.min_by_key(|name| matches!(*name, "input.low" | "input.high")) {
            None => return Ok(()),
            Some("input.low" | "input.high") => "smallest and largest training value (corruption: salt_and_pepper)",
            Some(_) => "input scaling",
        };
        Err(Error::data(place, "unknown", "one that was learned from data: call fit or load first"))
    }
}

/// How many rows of `width` values these are.
pub(crate) fn whole_rows(values: &[f32], width: usize, what: &str) -> Result<usize> {
    if values.is_empty() || !values.len().is_multiple_of(width) {
        let allowed = format!("whole rows of {width} values, at least one");
        return Err(Error::data(what, format!("{} values", values.len()), allowed));
    }
    Ok(values.len() / width)
}
