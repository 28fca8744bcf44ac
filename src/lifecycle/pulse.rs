//! Whether something still moves: it is asked, and answers from within.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

/// Beats without an answer after which something counts as stuck.
const STUCK: u32 = 10;

/// A question that was put; whoever moves answers it, in whatever time.
#[derive(Debug)]
pub struct Question(Arc<AtomicBool>);

impl Question {
    /// It moves.
    pub fn answer(self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What a beat brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has just come to count as stuck.
    Stuck,
    /// It moves again.
    Moves,
}

/// Something that is asked on a beat whether it moves. It is asked anew only when it has answered,
/// and missed beats are counted rather than time: a machine that was suspended, or a process that was
/// stopped, has missed none.
pub struct Pulse {
    name: String,
    ask: Box<dyn Fn(Question) + Send>,
    /// Beats between two questions.
    period: u32,
    until_next: u32,
    answered: Option<Arc<AtomicBool>>,
    missed: u32,
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pulse({}, {} missed)", self.name, self.missed)
    }
}

impl Pulse {
    /// Asks by `ask`, which must not block, every `period` beats (at least one).
    pub fn new(name: String, period: u32, ask: impl Fn(Question) + Send + 'static) -> Self {
        let ask = Box::new(ask);
        Self { name, ask, period: period.max(1), until_next: 0, answered: None, missed: 0 }
    }

    /// Asks a runtime, on every beat.
    pub fn of_runtime(name: String, runtime: Handle) -> Self {
        Self::new(name, 1, move |question| {
            // Nothing of it outlives its one step, so no shutdown has to name it.
            drop(runtime.spawn(async move { question.answer() }));
        })
    }

    /// What is asked.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn beat(&mut self) -> Option<Change> {
        let mut change = None;
        if let Some(answered) = &self.answered {
            if !answered.load(Ordering::Acquire) {
                self.missed = self.missed.saturating_add(1);
                return (self.missed == STUCK).then_some(Change::Stuck);
            }
            change = (self.missed >= STUCK).then_some(Change::Moves);
            (self.answered, self.missed) = (None, 0);
        }
        self.until_next = self.until_next.saturating_sub(1);
        if self.until_next == 0 {
            self.until_next = self.period;
            let answered = Arc::new(AtomicBool::new(false));
            self.answered = Some(Arc::clone(&answered));
            (self.ask)(Question(answered));
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn only_a_row_of_missed_beats_is_stuck_and_a_late_answer_ends_it() {
        let asked: Arc<Mutex<Vec<Question>>> = Arc::default();
        let put = Arc::clone(&asked);
        let mut pulse =
            Pulse::new("x".into(), 2, move |question| put.lock().unwrap().push(question));
        let answer = || asked.lock().unwrap().drain(..).map(Question::answer).count();
        assert_eq!(pulse.beat(), None);
        for _ in 1..STUCK {
            assert_eq!(pulse.beat(), None);
        }
        assert_eq!(answer(), 1, "asked once while there is no answer");
        assert_eq!(pulse.beat(), None, "answered at the last moment");
        assert_eq!(pulse.beat(), None);
        for beat in 1..=2 * STUCK {
            assert_eq!(pulse.beat(), (beat == STUCK).then_some(Change::Stuck), "{beat}");
        }
        answer();
        assert_eq!(pulse.beat(), Some(Change::Moves));
    }
}
