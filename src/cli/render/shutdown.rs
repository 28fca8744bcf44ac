//! The progress of a shutdown, step by step.

use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;

use super::table::{Paint, painted};
use super::{Live, Output, action, units};
use crate::cli::exit::ExitCode;
use crate::model::{Cut, ShutdownProgress, ShutdownStep, StepState};
use crate::text::{self, Lang, Message};

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
pub struct ShutdownView {
    output: Output,
    lines: ShutdownLines,
    bar: DrainBar,
    seen: Vec<ShutdownProgress>,
}

/// What a shutdown went through. `error` and `code` stand there where it did not go in order.
#[derive(Serialize)]
struct Document<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    forced: bool,
    steps: Vec<&'a ShutdownProgress>,
    cut: Vec<&'a Cut>,
}

impl Output {
    /// Begins to show a shutdown.
    pub fn shutdown(&self, lines: ShutdownLines) -> ShutdownView {
        let bar = DrainBar::new(self.live(), self.style().lang);
        ShutdownView { output: self.clone(), lines, bar, seen: Vec::new() }
    }
}

impl ShutdownView {
    /// Shows one sign of progress.
    pub fn show(&mut self, progress: &ShutdownProgress) {
        self.bar.show(progress);
        if self.lines == ShutdownLines::Logged {
            return;
        }
        match self.output.is_json() {
            true => self.seen.push(progress.clone()),
            false => self.write_lines(progress),
        }
    }

    fn write_lines(&mut self, progress: &ShutdownProgress) {
        let style = self.output.style();
        for cut in &progress.cut {
            self.output.line_out(&format!("  {}", action::cut_line(cut, style)));
        }
        if !has_line(progress) {
            return;
        }
        let sentence = self.output.sentence(&progress.message);
        let sentence = match progress.state {
            StepState::Failed => painted(Paint::Bad, &sentence),
            StepState::Started | StepState::Done => sentence,
        };
        let took = progress.duration_ms.map(|ms| units::took(Duration::from_millis(ms)));
        match took {
            Some(took) => {
                let suffix = painted(Paint::Faint, &format!("({took})"));
                self.output.line_out(&format!("{sentence} {suffix}"));
            }
            None => self.output.line_out(&sentence),
        }
    }

    /// Ends the view with what became of it: `code` is success if the server ended in order.
    pub fn finish(mut self, code: ExitCode) {
        self.bar.clear();
        if self.lines == ShutdownLines::Logged {
            return;
        }
        let forced_end = text::cli::shutdown_was_forced();
        let fault = (code != ExitCode::Success).then_some(&forced_end);
        if !self.output.is_json() {
            return match fault {
                Some(fault) => self.output.error(fault),
                None => self.output.done(&text::backend::server_stopped()),
            };
        }
        let is_step = |sign: &&ShutdownProgress| sign.state != StepState::Started;
        self.output.document(&Document {
            success: fault.is_none(),
            error: fault,
            code: fault.map(Message::code),
            forced: self.seen.iter().any(|sign| sign.forced),
            steps: self.seen.iter().filter(is_step).collect(),
            cut: self.seen.iter().flat_map(|sign| &sign.cut).collect(),
        });
    }
}

/// A step has one line when it is over; only the beginning of it all and the drain, which take
/// time, have some before. A proxy that stopped moves the bar and is not worth a line.
fn has_line(progress: &ShutdownProgress) -> bool {
    match (progress.state, progress.step) {
        (StepState::Done | StepState::Failed, _) => true,
        (StepState::Started, ShutdownStep::CloseControl) => true,
        (StepState::Started, ShutdownStep::DrainProxies) => {
            progress.proxies.is_none_or(|(stopped, _)| stopped == 0)
        }
        (StepState::Started, _) => false,
    }
}

/// The bar over the proxies while they drain; gone before and after.
pub(super) struct DrainBar {
    live: Live,
    lang: Lang,
    bar: Option<ProgressBar>,
}

impl DrainBar {
    pub(super) fn new(live: Live, lang: Lang) -> Self {
        Self { live, lang, bar: None }
    }

    pub(super) fn show(&mut self, progress: &ShutdownProgress) {
        let counts = progress.proxies.filter(|_| progress.step == ShutdownStep::DrainProxies);
        match (progress.state, counts) {
            (StepState::Started, Some((stopped, all))) => {
                let lang = self.lang;
                let message = || text::cli::progress_draining().render(lang);
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

impl Drop for DrainBar {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::testing::{capture, json_style, zh};
    use super::*;

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
        let drain = |proxies, message| progress(DrainProxies, None, proxies, message);
        vec![
            progress(CloseControl, None, None, text::serve::step_signal_received("SIGINT")),
            progress(CloseControl, Some(0), None, text::serve::step_control_closed()),
            progress(StopSync, None, None, text::serve::step_sync_stopping()),
            progress(StopSync, Some(1), None, text::serve::step_sync_stopped()),
            progress(Deregister, Some(0), None, text::serve::step_leases_ended()),
            drain(Some((0, 5)), text::serve::step_draining(5)),
            drain(None, text::serve::step_draining_one("dspapi", 27721)),
            drain(None, text::serve::step_draining_one("admin-meta-api", 8080)),
            drain(Some((1, 5)), text::serve::step_drained_one("dspapi", 27721)),
            progress(DrainProxies, Some(1_234), None, text::serve::step_drained()),
            progress(SaveState, Some(3), None, text::serve::step_state_saved()),
            progress(CloseDatabase, Some(2), None, text::serve::step_database_closed()),
            progress(Exit, Some(0), None, text::serve::step_all_safe()),
        ]
    }

    fn shown(style: Style, steps: &[ShutdownProgress]) -> String {
        let (output, streams) = capture(style);
        let mut view = output.shutdown(ShutdownLines::Shown);
        steps.iter().for_each(|step| view.show(step));
        let forced = steps.iter().any(|step| step.forced);
        view.finish(if forced { ExitCode::Failed } else { ExitCode::Success });
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
✅ 所有服务已安全关闭 (<1ms)
服务器已停止
";
        assert_eq!(shown(zh(), &shutdown()), lines);
        assert_eq!(shown(Style::default(), &shutdown()).lines().count(), 12);
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
        steps[8].cut = vec![cut];
        for step in &mut steps[8..] {
            step.forced = true;
        }
        steps[9].state = StepState::Failed;
        let text = shown(Style { color: true, ..Style::default() }, &steps);
        assert_eq!(text.matches("cut shop: request GET /big").count(), 1, "{text}");
        assert!(text.contains("\u{1b}[31mall proxies stopped"), "{text}");
        let document: serde_json::Value =
            serde_json::from_str(&shown(json_style(), &steps)).unwrap();
        assert_eq!((&document["success"], &document["forced"]), (&false.into(), &true.into()));
        assert_eq!(document["code"], "shutdown-was-forced");
        assert_eq!(document["cut"].as_array().map(Vec::len), Some(1));
        assert_eq!(document["steps"].as_array().map(Vec::len), Some(7));
    }

    #[test]
    fn with_json_the_steps_stand_in_the_one_document_that_tells_the_end() {
        let document: serde_json::Value =
            serde_json::from_str(&shown(json_style(), &shutdown())).unwrap();
        assert_eq!((&document["success"], &document["forced"]), (&true.into(), &false.into()));
        assert_eq!(document["steps"][0]["step"], "close-control");
    }

    #[test]
    fn beside_a_log_the_view_writes_no_line_and_no_document() {
        for style in [Style::default(), json_style()] {
            let (output, streams) = capture(style);
            let mut view = output.shutdown(ShutdownLines::Logged);
            shutdown().iter().for_each(|step| view.show(step));
            view.finish(ExitCode::Success);
            assert_eq!((streams.out(), streams.err()), (String::new(), String::new()));
        }
    }

    #[test]
    fn the_bar_counts_proxies_while_they_drain_and_goes_when_they_are_stopped() {
        let mut bar = DrainBar::new(Live::new(false), Lang::En);
        let steps = shutdown();
        steps[..9].iter().for_each(|step| bar.show(step));
        let shown = bar.bar.as_ref().map(|bar| (bar.position(), bar.length()));
        assert_eq!(shown, Some((1, Some(5))));
        bar.show(&steps[9]);
        assert!(bar.bar.is_none());
    }
}
