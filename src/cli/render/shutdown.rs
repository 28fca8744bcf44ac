//! The progress of a shutdown, step by step.

use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;

use super::table::{Paint, painted};
use super::{Live, Output, action, units};
use crate::cli::exit::ExitCode;
use crate::model::{Cut, ShutdownProgress, ShutdownStep, StepState};
use crate::text::{self, Lang};

/// Who writes the lines of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownLines {
    /// The view does: `pmctl shutdown --wait`.
    Shown,
    /// The server's log does, so the view has the bar only: `pmctl serve` itself.
    Logged,
}

/// Shows a shutdown as it goes on: a line a step with its duration, and on a terminal a bar over
/// the proxies while they drain. With JSON it collects, and [`ShutdownView::finish`] writes the one
/// document. Dropping it takes the bar away.
pub struct ShutdownView<'a> {
    output: &'a Output,
    lines: ShutdownLines,
    bar: Bar,
    seen: Vec<ShutdownProgress>,
    cut_shown: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    success: bool,
    forced: bool,
    steps: Vec<&'a ShutdownProgress>,
    cut: &'a [Cut],
}

impl Output {
    /// Begins to show a shutdown.
    pub fn shutdown(&self, lines: ShutdownLines) -> ShutdownView<'_> {
        let bar = Bar::new(self.live(), self.style().lang);
        ShutdownView { output: self, lines, bar, seen: Vec::new(), cut_shown: 0 }
    }
}

impl ShutdownView<'_> {
    /// Shows one sign of progress.
    pub fn show(&mut self, progress: &ShutdownProgress) {
        self.bar.show(progress);
        if self.output.is_json() {
            self.seen.push(progress.clone());
        } else if self.lines == ShutdownLines::Shown {
            self.write_lines(progress);
        }
    }

    fn write_lines(&mut self, progress: &ShutdownProgress) {
        let style = self.output.style();
        for cut in progress.cut.iter().skip(self.cut_shown) {
            self.output.line_out(&format!("  {}", action::cut_line(cut, style)));
        }
        self.cut_shown = self.cut_shown.max(progress.cut.len());
        // A proxy that stopped moves the bar; it is not worth a line.
        if is_count_only(progress) {
            return;
        }
        let sentence = self.output.sentence(&progress.message);
        let sentence = match progress.state {
            StepState::Failed => painted(Paint::Bad, &sentence),
            StepState::Started | StepState::Done => sentence,
        };
        let took = progress.duration_ms.map(|ms| units::took(Duration::from_millis(ms)));
        let suffix = took.map(|took| painted(Paint::Faint, &format!("({took})")));
        match suffix {
            Some(suffix) => self.output.line_out(&format!("{sentence} {suffix}")),
            None => self.output.line_out(&sentence),
        }
    }

    /// Ends the view. With JSON and lines of its own it writes the document, whose `success` is
    /// whether `code` is.
    pub fn finish(mut self, code: ExitCode) {
        self.bar.clear();
        if !self.output.is_json() || self.lines == ShutdownLines::Logged {
            return;
        }
        let steps = self.seen.iter().filter(|p| p.state != StepState::Started).collect();
        let cut = self.seen.iter().map(|p| p.cut.as_slice()).max_by_key(|cut| cut.len());
        self.output.document(&Document {
            success: code == ExitCode::Success,
            forced: self.seen.iter().any(|progress| progress.forced),
            steps,
            cut: cut.unwrap_or_default(),
        });
    }
}

impl Drop for ShutdownView<'_> {
    fn drop(&mut self) {
        self.bar.clear();
    }
}

/// A step under way that says how far it is by numbers: a bar can show it, a line need not.
fn is_count_only(progress: &ShutdownProgress) -> bool {
    progress.state == StepState::Started && progress.proxies.is_some_and(|(stopped, _)| stopped > 0)
}

struct Bar {
    live: Live,
    lang: Lang,
    bar: Option<ProgressBar>,
}

impl Bar {
    fn new(live: Live, lang: Lang) -> Self {
        Self { live, lang, bar: None }
    }

    fn show(&mut self, progress: &ShutdownProgress) {
        let counts = progress.proxies.filter(|_| progress.step == ShutdownStep::DrainProxies);
        match (progress.state, counts) {
            (StepState::Started, Some((stopped, all))) => {
                let lang = self.lang;
                let message = || text::cli::shutdown_bar().render(lang);
                let bar = self.bar.get_or_insert_with(|| self.live.bar(all, message()));
                bar.set_length(all);
                bar.set_position(stopped.min(all));
            }
            (StepState::Started, None) => {}
            (StepState::Done | StepState::Failed, _) => self.clear(),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::testing::{capture, json_style, zh};
    use super::*;
    use crate::text::Message;

    fn progress(
        step: ShutdownStep,
        duration_ms: Option<u64>,
        proxies: Option<(u64, u64)>,
        message: Message,
    ) -> ShutdownProgress {
        let state = if duration_ms.is_some() { StepState::Done } else { StepState::Started };
        ShutdownProgress { step, state, message, duration_ms, proxies, cut: vec![], forced: false }
    }

    /// A graceful shutdown as the server tells it.
    fn shutdown() -> Vec<ShutdownProgress> {
        use ShutdownStep::{
            CloseControl, CloseDatabase, Deregister, DrainProxies, Exit, SaveState, StopSync,
        };
        vec![
            progress(CloseControl, None, None, text::cli::shutdown_signal("SIGINT")),
            progress(CloseControl, Some(0), None, text::cli::shutdown_control_closed()),
            progress(StopSync, Some(1), None, text::cli::shutdown_sync_stopped()),
            progress(Deregister, Some(0), None, text::cli::shutdown_heartbeats_cleared()),
            progress(DrainProxies, None, Some((0, 5)), text::cli::shutdown_stopping(5)),
            progress(DrainProxies, None, None, text::cli::shutdown_preparing("dspapi", 27721)),
            progress(
                DrainProxies,
                None,
                None,
                text::cli::shutdown_preparing("admin-meta-api", 8080),
            ),
            progress(DrainProxies, None, Some((1, 5)), text::cli::shutdown_stopping(5)),
            progress(
                DrainProxies,
                Some(1_234),
                Some((5, 5)),
                text::cli::shutdown_proxies_stopped(),
            ),
            progress(SaveState, Some(3), None, text::cli::shutdown_state_saved()),
            progress(CloseDatabase, Some(2), None, text::cli::shutdown_database_closed()),
            progress(Exit, None, None, text::cli::shutdown_complete()),
        ]
    }

    fn shown(style: Style, steps: &[ShutdownProgress]) -> String {
        let (output, streams) = capture(style);
        let mut view = output.shutdown(ShutdownLines::Shown);
        for step in steps {
            view.show(step);
        }
        view.finish(ExitCode::Success);
        streams.out()
    }

    #[test]
    fn the_lines_in_chinese_are_those_of_the_contract() {
        let lines = "\
收到 SIGINT 信号，开始优雅关闭...
HTTP服务器已停止接受新连接 (<1ms)
状态同步已停止 (1ms)
所有心跳定时器已清理 (<1ms)
正在停止 5 个代理服务...
- 准备停止: dspapi:27721
- 准备停止: admin-meta-api:8080
所有代理服务已停止 (1.2s)
数据库服务状态已更新 (3ms)
数据库连接已关闭 (2ms)
✅ 所有服务已安全关闭
";
        assert_eq!(shown(zh(), &shutdown()), lines);
        assert_eq!(shown(Style::default(), &shutdown()).lines().count(), 11);
    }

    #[test]
    fn what_was_cut_is_listed_once_and_failure_is_told_from_success() {
        let cut = Cut {
            service: "shop".parse().unwrap(),
            peer: "10.0.0.9:5555".into(),
            kind: "request".into(),
            request: "GET /big".into(),
            age_ms: 2_000,
            bytes: 10,
        };
        let mut steps = shutdown();
        for step in &mut steps[8..] {
            step.cut = vec![cut.clone()];
        }
        steps[9].state = StepState::Failed;
        let color = Style { color: true, ..Style::default() };
        let text = shown(color, &steps);
        assert_eq!(text.matches("cut shop: request GET /big").count(), 1, "{text}");
        assert!(text.contains("\u{1b}[31m"), "{text}");
        let (output, streams) = capture(json_style());
        let mut view = output.shutdown(ShutdownLines::Shown);
        steps.iter().for_each(|step| view.show(step));
        view.finish(ExitCode::Failed);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        assert_eq!((&document["success"], &document["forced"]), (&false.into(), &false.into()));
        assert_eq!(document["cut"].as_array().map(Vec::len), Some(1));
        assert_eq!(document["steps"].as_array().map(Vec::len), Some(6));
    }

    #[test]
    fn beside_a_log_the_view_writes_no_line() {
        let (output, streams) = capture(Style::default());
        let mut view = output.shutdown(ShutdownLines::Logged);
        shutdown().iter().for_each(|step| view.show(step));
        view.finish(ExitCode::Success);
        assert_eq!((streams.out(), streams.err()), (String::new(), String::new()));
    }

    #[test]
    fn the_bar_counts_proxies_while_they_drain_and_goes_when_they_are_stopped() {
        let mut bar = Bar::new(Live::new(false), Lang::En);
        let steps = shutdown();
        steps[..8].iter().for_each(|step| bar.show(step));
        let shown = bar.bar.as_ref().map(|bar| (bar.position(), bar.length()));
        assert_eq!(shown, Some((1, Some(5))));
        bar.show(&steps[8]);
        assert!(bar.bar.is_none());
    }
}
