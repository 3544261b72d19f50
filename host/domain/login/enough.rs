//! When what a session has proved is enough for a scope. No database, no clock.

use std::collections::BTreeMap;

use crate::domain::scopes::{SchemeGroup, Scope};

/// The newest proof of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// When, in milliseconds since 1970.
    pub proved_at_ms: i64,
    /// How often it was relied on since.
    pub use_count: i64,
}

/// What a user of a session has proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proofs {
    /// The password.
    pub password: Option<Proof>,
    /// Schemes, by the names of their instances.
    pub schemes: BTreeMap<String, Proof>,
}

/// How long and how often a proof of a scheme counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchemeLimits {
    /// How long, in seconds; 0 means for ever.
    pub expiration_s: i64,
    /// How often; 0 means without end.
    pub use_max: i64,
}

/// The schemes that there are, by the names of their instances. A proof of any other counts nothing.
pub type Schemes = BTreeMap<String, SchemeLimits>;

/// How a session stands towards one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the password is proved, recently enough for this scope.
    pub password_proved: bool,
    /// By group, each scheme with whether it is proved at present.
    pub groups: BTreeMap<String, Vec<(String, bool)>>,
    /// Whether nothing is missing.
    pub enough: bool,
}

impl Standing {
    /// How somebody who proved these things stands at that time. Whether they have the scope at all is another question.
    #[must_use]
    pub fn of(scope: &Scope, proofs: &Proofs, schemes: &Schemes, now_ms: i64) -> Self {
        let password_proved = proofs.password.is_some_and(|proof| proof.is_younger(scope.password_max_age_s, now_ms));
        let proved = |scheme: &String| {
            let proof_and_limits = proofs.schemes.get(scheme).zip(schemes.get(scheme));
            (scheme.clone(), proof_and_limits.is_some_and(|(proof, limits)| proof.counts(*limits, now_ms)))
        };
        let group = |(name, group): (&String, &SchemeGroup)| (name.clone(), group.schemes.iter().map(proved).collect());
        let groups: BTreeMap<String, Vec<(String, bool)>> = scope.groups.iter().map(group).collect();
        let complete = groups.values().zip(scope.groups.values()).all(|(members, group)| {
            let proved = members.iter().filter(|(_, proved)| *proved).count();
            u32::try_from(proved).unwrap_or(u32::MAX) >= group.required
        });
        let enough = complete && (password_proved || !scope.password_required) && !proofs.is_empty();
        Self { password_proved, groups, enough }
    }

    /// The schemes whose proofs count at present.
    pub fn relied_on(&self) -> impl Iterator<Item = &str> {
        self.groups.values().flatten().filter(|(_, proved)| *proved).map(|(scheme, _)| scheme.as_str())
    }
}

impl Proofs {
    /// Whether nothing was proved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.password.is_none() && self.schemes.is_empty()
    }
}

impl Proof {
    fn counts(self, limits: SchemeLimits, now_ms: i64) -> bool {
        let unused = limits.use_max == 0 || self.use_count < limits.use_max;
        unused && self.is_younger(limits.expiration_s, now_ms)
    }

    fn is_younger(self, max_age_s: i64, now_ms: i64) -> bool {
        max_age_s == 0 || now_ms.saturating_sub(self.proved_at_ms) < max_age_s.saturating_mul(1_000)
    }
}
