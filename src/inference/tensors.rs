//! Files of tensors (safetensors), read and written one tensor at a time, so that the host never holds more than one.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result, not_finite};

/// The types of numbers that are read.
pub(super) const FLOATS: [Dtype; 4] = [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16];

/// Bytes of a tensor that are read at a time: whole numbers of every type.
const PIECE: usize = 1 << 20;

/// The numbers of N bytes in a piece.
fn whole<const N: usize>(piece: &[u8]) -> impl Iterator<Item = [u8; N]> {
    piece.as_chunks().0.iter().copied()
}

/// Where the n-th value of a tensor lies in it.
fn element(mut n: usize, shape: &[usize]) -> Vec<usize> {
    let mut place = Vec::with_capacity(shape.len());
    for extent in shape.iter().rev() {
        place.push(n % extent.max(&1));
        n /= extent.max(&1);
    }
    place.reverse();
    place
}

/// Bytes of a header that are read: as many as the library reads.
const HEADER: u64 = 100_000_000;

/// What a file that is not what it should be is refused with: the place in it, what is there, what is allowed.
pub(crate) fn failure(path: &Path) -> impl Fn(&str, &str, &str) -> Error + '_ {
    move |place, found, allowed| Error::Checkpoint {
        path: path.to_path_buf(),
        place: place.into(),
        found: found.into(),
        allowed: allowed.into(),
    }
}

/// What tensors are read from: a file, or a copy of one in memory.
trait Bytes: Read + Seek + Send {}

impl<T: Read + Seek + Send> Bytes for T {}

/// A file whose header was read and fits its length.
pub(super) struct TensorFile {
    path: PathBuf,
    file: Box<dyn Bytes>,
    /// Where the tensors begin.
    start: u64,
    header: Metadata,
}

impl TensorFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where it is no such file; [`Error::Io`].
    pub fn open(path: &Path) -> Result<TensorFile> {
        let fail = failure(path);
        // What is no file, such as /dev/zero, may never end.
        let kind = std::fs::metadata(path).map_err(Error::io(path))?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Err(fail("file", "a device or a pipe", "a safetensors file"));
        }
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        if kind.is_file() && length < 8 {
            return Err(fail("header", &format!("{length} bytes"), "a safetensors file"));
        }
        TensorFile::read_header(path, Box::new(file), length)
    }

    /// The same of a file in memory.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn in_memory(name: &Path, bytes: Arc<[u8]>) -> Result<TensorFile> {
        let length = bytes.len() as u64;
        TensorFile::read_header(name, Box::new(Cursor::new(bytes)), length)
    }

    fn read_header(path: &Path, mut file: Box<dyn Bytes>, length: u64) -> Result<TensorFile> {
        let fail = failure(path);
        let refuse = |found: String| fail("header", &found, "a safetensors file");
        let mut word = [0; 8];
        file.read_exact(&mut word).map_err(Error::io(path))?;
        let size = u64::from_le_bytes(word);
        if size > HEADER.min(length.saturating_sub(8)) {
            return Err(refuse(format!("a header of {size} bytes in a file of {length}")));
        }
        let mut bytes = vec![0; size as usize];
        file.read_exact(&mut bytes).map_err(Error::io(path))?;
        if let Some(name) = given_twice(&bytes) {
            return Err(fail(&name, "the name twice", "every name once"));
        }
        let header: Metadata = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
        let (start, data) = (8 + size, header.data_len() as u64);
        if length - start != data {
            return Err(refuse(format!("{} bytes of tensors where it names {data}", length - start)));
        }
        Ok(TensorFile { path: path.to_path_buf(), file, start, header })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its metadata under a key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref().and_then(|all| all.get(key)).map(String::as_str)
    }

    /// The names of its tensors.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// The type and the shape of a tensor.
    pub fn info(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.header.info(name).map(|info| (info.dtype, info.shape.as_slice()))
    }

    /// Reads a tensor of one of [`FLOATS`], row-major; what f32 does not hold in full is rounded.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where there is none of this name and of these types, or no memory for it, and naming the
    /// element that is no finite number of f32; [`Error::Io`].
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let fail = failure(&self.path);
        let info = self.header.info(name).filter(|info| FLOATS.contains(&info.dtype));
        let info = info.ok_or_else(|| fail(name, "nothing", "a tensor of this name and of floating-point numbers"))?;
        let (dtype, (start, end), shape) = (info.dtype, info.data_offsets, info.shape.clone());
        let size = if dtype == Dtype::F64 {
            8
        } else if dtype == Dtype::F32 {
            4
        } else {
            2
        };
        let mut values: Vec<f32> = Vec::new();
        let count = (end - start) / size;
        values.try_reserve_exact(count).map_err(|e| fail(name, &e.to_string(), "a tensor that fits in memory"))?;
        self.file.seek(SeekFrom::Start(self.start + start as u64)).map_err(Error::io(&self.path))?;
        let mut piece = vec![0; PIECE.min(end - start)];
        for at in (start..end).step_by(PIECE) {
            let piece = &mut piece[..PIECE.min(end - at)];
            self.file.read_exact(piece).map_err(Error::io(&self.path))?;
            let before = values.len();
            match dtype {
                Dtype::F64 => values.extend(whole(piece).map(|bytes| f64::from_le_bytes(bytes) as f32)),
                Dtype::F16 => values.extend(whole(piece).map(|bytes| f16::from_le_bytes(bytes).to_f32())),
                Dtype::BF16 => values.extend(whole(piece).map(|bytes| bf16::from_le_bytes(bytes).to_f32())),
                _ => values.extend(whole(piece).map(f32::from_le_bytes)),
            }
            if let Some(at) = not_finite(&values[before..]) {
                // As it stands in the file: what is too large for f32 is infinite only here.
                let bad = match dtype {
                    Dtype::F64 => whole(piece).nth(at).map_or(f64::NAN, f64::from_le_bytes),
                    _ => f64::from(values[before + at]),
                };
                let found = format!("{bad:e} at {:?}", element(before + at, &shape));
                return Err(fail(name, &found, "finite numbers, in the range of f32"));
            }
        }
        Ok(values)
    }
}

/// Writes f32 tensors, named with their dimensions; `values` gives those of the i-th, row-major, when their turn comes.
///
/// # Errors
/// [`Error::Io`] naming `path`; whatever `values` fails with.
pub(super) fn write(
    path: &Path,
    out: &mut dyn Write,
    metadata: HashMap<String, String>,
    tensors: &[(String, Vec<usize>)],
    mut values: impl FnMut(usize) -> Result<Vec<f32>>,
) -> Result<()> {
    let internal = |e: &dyn std::fmt::Display| Error::Internal(format!("safetensors: {e}"));
    // By name, as everybody writes them.
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| &tensors[i].0);
    if let Some(twice) = order.windows(2).find(|pair| tensors[pair[0]].0 == tensors[pair[1]].0) {
        return Err(internal(&format!("{} twice", tensors[twice[0]].0)));
    }
    let (mut infos, mut end) = (Vec::with_capacity(tensors.len()), 0usize);
    for &i in &order {
        let (name, dims) = &tensors[i];
        let start = end;
        end = start.saturating_add(dims.iter().product::<usize>().saturating_mul(4));
        infos.push((name.clone(), TensorInfo { dtype: Dtype::F32, shape: dims.clone(), data_offsets: (start, end) }));
    }
    let header = Metadata::new(Some(metadata), infos).map_err(|e| internal(&e))?;
    // Keys in order, so that the same model gives the same bytes.
    let ordered = |value: serde_json::Value| match value {
        serde_json::Value::Object(fields) => fields.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect(),
        other => other,
    };
    let header = match serde_json::to_value(&header).map_err(|e| internal(&e))? {
        serde_json::Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, ordered(value))).collect(),
        _ => BTreeMap::new(),
    };
    let mut header = serde_json::to_vec(&header).map_err(|e| internal(&e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(Error::io(path))?;
    out.write_all(&header).map_err(Error::io(path))?;
    for &i in &order {
        let mut values = values(i)?;
        values.iter_mut().for_each(|v| *v = f32::from_bits(v.to_bits().to_le()));
        out.write_all(bytemuck::cast_slice(&values)).map_err(Error::io(path))?;
    }
    out.flush().map_err(Error::io(path))
}

/// A name that the header gives twice: a JSON reader would keep one of the two and say nothing.
fn given_twice(header: &[u8]) -> Option<String> {
    Twice.deserialize(&mut serde_json::Deserializer::from_slice(header)).ok().flatten()
}

/// Looks for a name that an object, or the metadata in it, gives twice.
struct Twice;

impl<'de> DeserializeSeed<'de> for Twice {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Twice {
    type Value = Option<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object")
    }

    /// What readers take for no metadata. It must not end the search.
    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut twice = None;
        while let Some(name) = map.next_key::<String>()? {
            let inside = match name.as_str() {
                "__metadata__" => map.next_value_seed(Twice)?,
                _ => map.next_value::<IgnoredAny>().map(|_| None)?,
            };
            let again = seen.contains(&name).then(|| name.clone());
            twice = twice.or(inside).or(again);
            seen.insert(name);
        }
        Ok(twice)
    }
}
