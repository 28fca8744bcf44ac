//! How far long work is that counts what it has dealt with, on a terminal.

use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

use super::{Live, Output, escape};
use crate::model::{CleanupProgress, KillProgress};
use crate::text::{Lang, Message};

/// A bar, or a line where nothing can be counted. Dropping it takes it away.
pub struct ProgressView {
    live: Live,
    lang: Lang,
    shown: Mutex<Option<Shown>>,
}

enum Shown {
    Line(ProgressBar),
    Bar(ProgressBar),
}

impl Shown {
    fn bar(&self) -> &ProgressBar {
        match self {
            Self::Line(bar) | Self::Bar(bar) => bar,
        }
    }
}

impl Output {
    /// Begins to show how far `ports kill` or `cleanup` is; nothing is drawn before the first sign.
    pub fn progress_view(&self) -> ProgressView {
        ProgressView { live: self.live(), lang: self.style().lang, shown: Mutex::new(None) }
    }
}

impl ProgressView {
    /// So many of `total` are dealt with, `message` is under way. No bar for a single thing.
    pub fn show(&self, done: u64, total: u64, message: &Message) {
        if total < 2 {
            return self.say(message);
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*shown, Some(Shown::Bar(_))) {
            take_away(&mut shown);
            *shown = Some(Shown::Bar(self.live.bar(total, String::new())));
        }
        if let Some(Shown::Bar(bar)) = &*shown {
            bar.set_message(self.words(message));
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// `message` is under way, and there is nothing to count.
    pub fn say(&self, message: &Message) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*shown, Some(Shown::Line(_))) {
            take_away(&mut shown);
            *shown = Some(Shown::Line(self.live.line()));
        }
        if let Some(shown) = &*shown {
            shown.bar().set_message(self.words(message));
        }
    }

    /// [`ProgressView::show`] for freeing ports.
    pub fn kill(&self, progress: &KillProgress) {
        self.show(progress.done, progress.total, &progress.message);
    }

    /// [`ProgressView::show`] for a cleanup.
    pub fn cleanup(&self, progress: &CleanupProgress) {
        self.show(progress.done, progress.total, &progress.message);
    }

    /// Takes it away.
    pub fn finish(self) {}

    fn words(&self, message: &Message) -> String {
        escape::line(&message.render(self.lang)).into_owned()
    }
}

impl Drop for ProgressView {
    fn drop(&mut self) {
        take_away(self.shown.get_mut().unwrap_or_else(PoisonError::into_inner));
    }
}

fn take_away(shown: &mut Option<Shown>) {
    if let Some(shown) = shown.take() {
        shown.bar().finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Style, testing::capture};
    use super::*;
    use crate::text;

    #[test]
    fn several_things_have_a_bar_and_a_single_one_a_line() {
        let (output, _) = capture(Style::default());
        let view = output.progress_view();
        let position = |view: &ProgressView| match &*view.shown.lock().unwrap() {
            Some(Shown::Bar(bar)) => Some((bar.position(), bar.length(), bar.message())),
            Some(Shown::Line(line)) => Some((0, None, line.message())),
            None => None,
        };
        assert_eq!(position(&view), None);
        view.show(0, 1, &text::cli::word_yes());
        assert_eq!(position(&view), Some((0, None, "yes".to_owned())));
        view.show(2, 3, &text::cli::word_no());
        assert_eq!(position(&view), Some((2, Some(3), "no".to_owned())));
        view.finish();
    }
}
