//! The exit status of pmctl.

use std::cmp::Ordering;

use crate::model::{
    ActionReport, CleanupReport, Fault, FaultKind, KillReport, SelftestReport, VerifyReport,
};

/// How pmctl ends.
///
/// | code | meaning |
/// | --- | --- |
/// | 0 | the asked-for state holds |
/// | 1 | failed, or `serve` had to end by force |
/// | 2 | usage error; nothing was changed |
/// | 3 | something was left alone for safety and is named |
/// | 4 | a server was required and is down, hung, busy or of another database |
/// | 5 | not permitted |
///
/// Ordered by how bad it is, which is not the order of the numbers: 0, 3, 5, 4, 1, 2. Of several
/// outcomes the greatest is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitCode {
    /// The asked-for state holds.
    Success,
    /// Something was left alone for safety and is named.
    LeftAlone,
    /// Not permitted.
    Denied,
    /// A server was required and is down, hung, busy or of another database.
    Unavailable,
    /// Failed, or `serve` had to end by force.
    Failed,
    /// Usage error; nothing was changed.
    Usage,
}

impl ExitCode {
    /// Every one, from the best to the worst.
    pub const ALL: &[Self] = &[
        Self::Success,
        Self::LeftAlone,
        Self::Denied,
        Self::Unavailable,
        Self::Failed,
        Self::Usage,
    ];

    /// The number the operating system gets.
    pub fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::LeftAlone => 3,
            Self::Unavailable => 4,
            Self::Denied => 5,
        }
    }

    /// The worse of two outcomes.
    pub fn worst(self, other: Self) -> Self {
        self.max(other)
    }

    fn severity(self) -> usize {
        Self::ALL.iter().position(|code| *code == self).unwrap_or_default()
    }
}

impl PartialOrd for ExitCode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ExitCode {
    fn cmp(&self, other: &Self) -> Ordering {
        self.severity().cmp(&other.severity())
    }
}

impl From<FaultKind> for ExitCode {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Usage => Self::Usage,
            FaultKind::NotFound
            | FaultKind::Exists
            | FaultKind::Precondition
            | FaultKind::Timeout
            | FaultKind::Internal => Self::Failed,
            FaultKind::LeftAlone => Self::LeftAlone,
            FaultKind::Unavailable => Self::Unavailable,
            FaultKind::Denied => Self::Denied,
        }
    }
}

/// The worst of several faults.
fn worst<'a>(faults: impl Iterator<Item = &'a Option<Fault>>) -> ExitCode {
    faults.flatten().map(|fault| fault.kind.into()).fold(ExitCode::Success, ExitCode::worst)
}

impl From<&ActionReport> for ExitCode {
    /// The worst of what became of the services.
    fn from(report: &ActionReport) -> Self {
        worst(report.services.iter().map(|item| &item.fault))
    }
}

impl From<&KillReport> for ExitCode {
    /// The worst of what became of the ports.
    fn from(report: &KillReport) -> Self {
        worst(report.ports.iter().map(|item| &item.fault))
    }
}

impl From<&CleanupReport> for ExitCode {
    /// The worst of what became of the services and of the servers that died.
    fn from(report: &CleanupReport) -> Self {
        let nodes = report.nodes.iter().map(|node| &node.fault);
        let instances = report.instances.iter().map(|instance| &instance.fault);
        let services = report.services.iter().map(|item| &item.fault);
        worst(nodes.chain(services).chain(instances))
    }
}

impl From<&SelftestReport> for ExitCode {
    /// 1 for a broken promise.
    fn from(report: &SelftestReport) -> Self {
        if report.is_kept() { Self::Success } else { Self::Failed }
    }
}

impl From<&VerifyReport> for ExitCode {
    /// Success is the proof that nothing is left.
    fn from(report: &VerifyReport) -> Self {
        match report.is_clean() {
            true => Self::Success,
            false => Self::Failed,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.number().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_several_outcomes_goes_2_1_4_5_3_0() {
        let mut numbers: Vec<u8> = ExitCode::ALL.iter().map(|code| code.number()).collect();
        numbers.reverse();
        assert_eq!(numbers, [2, 1, 4, 5, 3, 0]);
        assert!(ExitCode::ALL.is_sorted());
        let all = [ExitCode::Denied, ExitCode::Failed, ExitCode::LeftAlone, ExitCode::Success];
        assert_eq!(all.into_iter().fold(ExitCode::Success, ExitCode::worst), ExitCode::Failed);
    }

    #[test]
    fn every_kind_of_fault_has_the_exit_code_its_doc_names() {
        let model = include_str!("../model/fault.rs");
        for kind in FaultKind::ALL {
            let line = model.split(&format!("    {kind:?},\n")).next().unwrap_or_default();
            let doc = line.rsplit("Exit ").next().unwrap_or_default();
            let number = ExitCode::from(*kind).number().to_string();
            assert!(doc.starts_with(&number), "{kind:?}: {number}");
        }
    }

    #[test]
    fn the_table_of_the_documentation_has_a_row_for_every_code() {
        let source = include_str!("exit.rs");
        for code in ExitCode::ALL {
            let row = format!("/// | {} | ", code.number());
            assert_eq!(source.matches(&row).count(), 1, "{code:?}");
        }
    }
}
