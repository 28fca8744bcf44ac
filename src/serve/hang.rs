//! What is done about threads that stand still.

use std::sync::Arc;

use super::server::Server;
use crate::config::OnHang;
use crate::lifecycle::Verdict;
use crate::text::{self, Lang};

/// Hears from the watchdog which threads stand still, or (false) move again: says so in the log and
/// to whoever asks for the status, and has the process ended if that was asked for.
pub(super) fn hear(
    server: Arc<Server>,
    on_hang: OnHang,
    lang: Lang,
) -> impl FnMut(&str, bool) -> Verdict + Send + 'static {
    move |threads, is_stuck| {
        server.set_hung(threads, is_stuck);
        if !is_stuck {
            tracing::warn!("{}", text::guardian::hang_over(threads).render(lang));
            return Verdict::GoOn;
        }
        let pid = std::process::id();
        tracing::error!("{}", text::guardian::hang_seen(threads, pid).render(lang));
        match on_hang {
            OnHang::Log => Verdict::GoOn,
            OnHang::Exit => {
                tracing::error!("{}", text::guardian::hang_exit().render(lang));
                Verdict::End
            }
        }
    }
}
