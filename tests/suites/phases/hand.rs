//! A run done by hand: each graph and each update run once at a time, with the rows, the scalars and the counts that are written
//! down here.

use super::*;

/// What a step came to: its terms by name.
pub type Terms = Vec<(String, f64)>;

/// A run done by hand.
pub struct Hand {
    gpu: Gpu,
    pub arenas: BTreeMap<Arena, Vec<f32>>,
    /// The terms of each phase's steps.
    pub terms: Vec<Vec<Terms>>,
}

impl Hand {
    pub fn new(gpu: &Gpu) -> Hand {
        let mut hand = Hand { gpu: gpu.clone(), arenas: BTreeMap::new(), terms: vec![] };
        let mut left = initial().into_iter();
        for (i, set) in sets().iter().enumerate() {
            let own: Vec<Vec<f32>> = left.by_ref().take(set.tensors.len()).collect();
            let packed = Layout::new(&set.tensors).pack(&set.tensors, &own).unwrap();
            hand.arenas.insert(Set(i).arena(Kept::Values), packed);
        }
        hand
    }

    pub fn parameters(&self) -> Vec<Vec<f32>> {
        let of = |(i, set): (usize, &TensorSet)| {
            Layout::new(&set.tensors).unpack(&set.tensors, &self.arenas[&Set(i).arena(Kept::Values)]).unwrap()
        };
        sets().iter().enumerate().flat_map(of).collect()
    }

    pub fn phase(&mut self, run: &Run, number: u64, phase: &Phase) {
        for i in 0..4 {
            let zeros = vec![0.0; self.arenas[&Set(i).arena(Kept::Values)].len()];
            self.arenas.extend([Kept::First(0), Kept::Second(0)].map(|kept| (Set(i).arena(kept), zeros.clone())));
        }
        let target = Target { data_rows: ROWS, ..Target::of(&self.gpu, phase.batch) };
        let all = data();
        let passes: Vec<Evaluator> = phase
            .steps
            .iter()
            .map(|step| {
                let evaluator = Evaluator::with_target(&self.gpu, &step.graph, target.clone()).unwrap();
                evaluator.data(all.values()).unwrap();
                evaluator
            })
            .collect();
        let turns = if phase.drop_last { ROWS / phase.batch } else { ROWS.div_ceil(phase.batch) };
        let total = turns as u64 * phase.epochs;
        let (mut step, mut applied, mut terms) = (0, vec![0; phase.steps.len()], vec![]);
        for turn in 0..total {
            let first_row = (turn as usize % turns) * phase.batch;
            let state = State {
                rows: phase.batch.min(ROWS - first_row) as u32,
                first_row: first_row as u32,
                count: ROWS as u32,
                epoch: (turn / turns as u64) as u32,
                ..State::once(ROWS, run.seed + number)
            };
            for (at, taken) in phase.steps.iter().enumerate() {
                for _ in 0..taken.repeat {
                    self.pass(&passes[at], State { step, ..state }, fooling(turn as f64 / total as f64));
                    let found = taken.graph.terms().iter().enumerate().map(|(i, term)| {
                        let value = passes[at].sink(Sink::Term(i), state.rows as usize).unwrap()[0];
                        (format!("{}.{term}", taken.name), f64::from(value))
                    });
                    terms.push(found.collect());
                    for update in &taken.updates {
                        let share = (applied[at] as f64 + 1.0) / 4.0;
                        let part = applied[at] as f64 / (total * taken.repeat) as f64;
                        let factor = match update.schedule.warm_up {
                            0 => 1.0,
                            _ => share.min(1.0) * 0.5 * (1.0 + (PI * part).cos()),
                        };
                        self.update(update, update.learning_rate * factor, applied[at]);
                    }
                    for set in &taken.state {
                        let next = self.arenas[&set.arena(Kept::Gradients)].clone();
                        self.arenas.insert(set.arena(Kept::Values), next);
                    }
                    applied[at] += 1;
                    step += 1;
                }
            }
        }
        self.terms.push(terms);
    }

    fn pass(&mut self, evaluator: &Evaluator, state: State, fooling: f64) {
        for (arena, values) in self.arenas.iter().filter(|(arena, _)| arena.kept == Kept::Values) {
            evaluator.arena(*arena, values).unwrap();
        }
        evaluator.table(&[0.0, 0.0, 0.0, fooling as f32]).unwrap();
        evaluator.run(state).unwrap();
        for i in 0..4 {
            let arena = Set(i).arena(Kept::Gradients);
            if let Some(gradients) = evaluator.kept(arena).unwrap() {
                self.arenas.insert(arena, gradients);
            }
        }
    }

    fn update(&mut self, update: &Update, rate: f64, applied: u64) {
        let graph = update.optimizer.update(sets(), &update.sets, update.clip_norm).unwrap();
        let evaluator = Evaluator::new(&self.gpu, &graph, 1).unwrap();
        for (arena, values) in &self.arenas {
            evaluator.arena(*arena, values).unwrap();
        }
        let (first, second) = match update.optimizer {
            Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
                let count = applied as f64 + 1.0;
                (rate / (1.0 - beta1.powf(count)), 1.0 / (1.0 - beta2.powf(count)).sqrt())
            }
            _ => (rate, 1.0),
        };
        evaluator.table(&[rate as f32, first as f32, second as f32, 0.0]).unwrap();
        evaluator.run(State::once(1, 0)).unwrap();
        for (arena, values) in &mut self.arenas {
            if let (Some(new), false) = (evaluator.kept(*arena).unwrap(), arena.kept == Kept::Gradients) {
                *values = new;
            }
        }
    }
}
