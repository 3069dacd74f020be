//! Options that examples share, and what follows from them: how to train, and on which images.

use std::path::PathBuf;

use clap::Args;
use strait::{Data, Decay, Schedule, Training, data};

use super::arguments::{count, file};
use super::outcome::Outcome;

/// How an example runs, and where it writes.
#[derive(Args)]
pub struct Common {
    /// Passes over the training data
    #[arg(long, value_parser = count::<u64>)]
    pub epochs: Option<u64>,
    /// Seeds weights, order and whatever is drawn
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder for the pictures
    #[arg(long, default_value = "out")]
    pub out: PathBuf,
    /// Prints the figures as JSON in the last line
    #[arg(long)]
    pub json: bool,
}

impl Common {
    /// A file in the folder for the pictures, as [`file`] says.
    pub fn file(&self, name: &str) -> Outcome<PathBuf> {
        Ok(file(&self.out, name)?)
    }

    /// Training with a rate that falls to 0 along a cosine, for so many epochs where --epochs does not say.
    pub fn training(&self, learning_rate: f64, batch: usize, epochs: u64) -> Training {
        Training {
            learning_rate,
            schedule: Schedule { decay: Decay::Cosine { steps: None }, ..Schedule::default() },
            batch,
            epochs: self.epochs.unwrap_or(epochs),
            seed: self.seed,
            ..Training::default()
        }
    }
}

/// Which images an example trains on.
#[derive(Args)]
pub struct Images {
    /// Folder of the four IDX files of MNIST or Fashion-MNIST, plain or gzipped
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Trains on the first images only, for a short try
    #[arg(long, value_parser = count::<usize>)]
    pub limit: Option<usize>,
}

impl Images {
    /// Training and test images: those of --data, or the embedded digits, the first 1,500 to train on.
    pub fn split(&self) -> Outcome<(Data, Data)> {
        let (train, test) = match &self.data {
            Some(folder) => data::mnist(folder)?,
            None => data::digits()?.split_at(1500)?,
        };
        if train.columns().isqrt().pow(2) != train.columns() {
            return Err(
                format!("{}: images have {} pixels; allowed: square ones", train.name(), train.columns()).into()
            );
        }
        Ok((self.first(train)?, test))
    }

    /// The first of these images, where --limit says so.
    pub fn first(&self, images: Data) -> strait::Result<Data> {
        match self.limit {
            Some(limit) if limit < images.rows() => Ok(images.split_at(limit)?.0),
            _ => Ok(images),
        }
    }

    /// One number for the embedded digits, another for larger images.
    pub fn choose<T>(&self, digits: T, larger: T) -> T {
        if self.data.is_some() { larger } else { digits }
    }
}
