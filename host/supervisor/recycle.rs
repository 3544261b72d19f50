//! One child takes the place of another that serves: the sequence, and what becomes of it when either dies on the way.
//!
//! 1. The child that serves says which instances run.
//! 2. Another child is started. It initialises everything and accepts nothing; if it fails, that was all.
//! 3. The first one resigns: it changes no instance any more and lets go of what only a leader does.
//! 4. The other one catches up with what changed meanwhile, and accepts.
//! 5. The first one stops accepting. Now the other one leads: whoever connects after a change finds it made.
//! 6. The first one finishes what is under way, and leaves.
//!
//! At most two children live. Start at [`Supervisor::begin_recycle`]. Whoever leads, the other does not: the token is
//! given only when nobody has it, see [`Supervisor::pass_token`].

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ledger::Culprit;
use super::message::{ToChild, ToParent};
use super::process::{Death, Process};
use super::program::Program;
use super::sockets::{ListenError, Listening};
use super::{Supervisor, SupervisorError};
use crate::config::{Config, ConfigError};
use crate::telemetry;

/// What a child is started with.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) config: Arc<Config>,
    /// The sockets for the configuration's listeners.
    pub(super) listening: Listening,
    pub(super) program: Program,
}

/// Why there is no other plan.
#[derive(Debug, thiserror::Error)]
enum NoPlan {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// A recycle that somebody asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    reason: String,
    /// Whether it was a signal, which also asks for the configuration and the program of now.
    by_administrator: bool,
    /// When it may begin.
    due: Instant,
}

/// A recycle that has begun: the child that serves was asked which instances run.
#[derive(Debug)]
pub(super) struct Inquiry {
    wanted: Wanted,
    plan: Plan,
    since: Instant,
}

/// The child that is to take over.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) process: Process,
    wanted: Wanted,
    plan: Plan,
    stage: Stage,
    /// Since when it is at this stage.
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It initialises everything.
    Starting,
    /// It is done, and waits for the other one to resign.
    Waiting,
    /// It catches up and is about to accept.
    TakingOver,
    /// It failed, and leaves.
    Leaving,
}

/// Which child leads, by its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leader {
    Nobody,
    Leads(u64),
    /// It was asked to resign or to stop accepting and has not yet.
    Resigns(u64),
}

impl Supervisor {
    /// Notes that a recycle is wanted; it is done when none is under way.
    pub(super) fn want_recycle(&mut self, reason: String, by_administrator: bool, now: Instant) {
        let due = if by_administrator {
            now
        } else if self.wanted.is_some() || self.inquiry.is_some() || self.next.is_some() {
            return;
        } else {
            self.pace.next(now)
        };
        if due > now {
            let wait_s = (due - now).as_secs_f32();
            tracing::warn!("a fresh child is wanted too often; the next one starts in {wait_s:.1} s: {reason}");
        }
        self.wanted = Some(Wanted { reason, by_administrator, due });
    }

    /// Begins the recycle that is wanted, if it is time and no other is under way.
    pub(super) fn begin_recycle(&mut self, now: Instant) {
        if self.recycle_due().is_none_or(|due| due > now) {
            return;
        }
        let Some(wanted) = self.wanted.take() else { return };
        let plan = if wanted.by_administrator {
            match self.new_plan() {
                Ok(plan) => plan,
                Err(error) => {
                    tracing::error!("the configuration is refused, and everything stays as it is: {error}");
                    return;
                }
            }
        } else {
            self.plan.clone()
        };
        match &self.child {
            Some(child) => {
                tracing::info!("a fresh child is to take over from child {}: {}", child.generation(), wanted.reason);
                child.tell(&ToChild::TellRunning {});
                self.inquiry = Some(Inquiry { wanted, plan, since: now });
            }
            // There is none to take over from. What was wrong may be right now, so the next one need not wait.
            None => {
                tracing::info!("the next child starts at once, with the configuration of now");
                self.adopt(plan);
                self.due = now;
            }
        }
    }

    /// When the recycle that is wanted may begin; none if there is none, or if something must happen before.
    pub(super) fn recycle_due(&self) -> Option<Instant> {
        let wanted = self.wanted.as_ref()?;
        let busy = self.asked.is_some() || self.inquiry.is_some() || self.next.is_some() || self.old.is_some();
        let starting = self.child.as_ref().is_some_and(|child| !child.is_ready());
        (!busy && !starting).then_some(wanted.due)
    }

    /// The configuration and the program as they are now.
    fn new_plan(&self) -> Result<Plan, NoPlan> {
        let mut config = (self.sources.config)()?;
        let old = &self.plan.config;
        let keep = |key: &str, changed: bool| {
            if changed {
                tracing::warn!("`{key}` has changed in the configuration; that needs a restart, until then it stays");
            }
        };
        // The parent holds the lock, and two children at once must work on one store.
        keep("data", config.data != old.data);
        keep("database", config.database != old.database);
        config.data.clone_from(&old.data);
        config.database.clone_from(&old.database);
        let listening = self.plan.listening.open(&mut config)?;
        Ok(Plan { config: Arc::new(config), listening, program: self.program_now() })
    }

    /// The program that is now under the path by which the server was started.
    fn program_now(&self) -> Program {
        let path = self.program_path.display();
        match Program::open(&self.program_path) {
            Ok(program) if program.is(&self.plan.program) => self.plan.program.clone(),
            Ok(program) => {
                tracing::info!("`{path}` is another program now: the fresh child runs it");
                program
            }
            Err(error) => {
                tracing::warn!("cannot look at the program `{path}`, so children go on running the old one: {error}");
                self.plan.program.clone()
            }
        }
    }

    /// Starts children with `plan` from now on.
    pub(super) fn adopt(&mut self, plan: Plan) {
        self.ledger.set_limits(plan.config.quarantine.clone());
        // It was understood when it was read.
        if let Err(error) = telemetry::change(&super::log(&plan.config)) {
            tracing::warn!(error, "the log stays as it is: {error}");
        }
        self.plan = plan;
    }

    /// The child that serves said which instances run: they are in the file.
    pub(super) fn start_next(&mut self, mut descriptors: Vec<OwnedFd>, now: Instant) {
        let Some(Inquiry { wanted, plan, .. }) = self.inquiry.take() else { return };
        let Some(must_run) = descriptors.pop() else {
            return self.drop_recycle(wanted, "the child does not say which instances run", now);
        };
        // An administrator may have put another library in the place of one that ended a child.
        let refused = if wanted.by_administrator { Vec::new() } else { self.ledger.refused() };
        match self.start_process(&plan, refused, Some(&must_run)) {
            Ok(process) => {
                tracing::debug!("started child {} (process {})", process.generation(), process.id());
                self.next = Some(Next { process, wanted, plan, stage: Stage::Starting, since: now });
            }
            Err(error) => self.drop_recycle(wanted, &format!("cannot start a child: {error}"), now),
        }
    }

    /// Reads what the child says that is to take over, and sees whether it is dead.
    pub(super) fn heed_next(&mut self, now: Instant) -> Result<(), SupervisorError> {
        let Some(next) = &mut self.next else { return Ok(()) };
        let (said, death) = next.process.hear(now)?;
        for (message, descriptors) in said {
            // Once it was ready it is not the next one any more. Its death, if it died, is seen the next time.
            match self.next {
                Some(_) => self.next_says(message, now),
                None => self.child_says(message, descriptors, now),
            }
        }
        if let Some((death, next)) = death.and_then(|death| Some((death, self.next.take()?))) {
            self.next_is_dead(next, &death, now);
        }
        Ok(())
    }

    fn next_says(&mut self, message: ToParent, now: Instant) {
        let Some(next) = &mut self.next else { return };
        let generation = next.process.generation();
        match message {
            ToParent::Initialised {} if next.stage == Stage::Starting => {
                let after_ms = now.saturating_duration_since(next.process.started()).as_millis();
                tracing::info!("child {generation} has initialised everything after {after_ms} ms");
                (next.stage, next.since) = (Stage::Waiting, now);
                if let (Some(child), Leader::Leads(leader)) = (&self.child, self.leader)
                    && child.generation() == leader
                {
                    child.tell(&ToChild::Resign {});
                    self.leader = Leader::Resigns(leader);
                }
            }
            ToParent::Failed { reason } if next.stage != Stage::Leaving => {
                next.stage = Stage::Leaving;
                next.process.leaves(now);
                let wanted = next.wanted.clone();
                self.drop_recycle(wanted, &reason, now);
            }
            ToParent::Ready {} if next.stage == Stage::TakingOver && self.asked.is_none() => self.take_over(now),
            ToParent::Lifted { instance } => self.ledger.lifted(&instance),
            _ => {}
        }
    }

    /// The next child accepts: the other one finishes.
    fn take_over(&mut self, now: Instant) {
        let Some(next) = self.next.take() else { return };
        self.adopt(next.plan);
        self.pace.succeeded();
        if next.wanted.by_administrator {
            self.ledger.allow_again();
        }
        if let Some(mut old) = self.child.replace(next.process) {
            let (generation, deadline) = (old.generation(), old.drain(now));
            self.leader = Leader::Resigns(generation);
            tracing::info!("child {generation} finishes what is under way, at most {} ms", deadline.as_millis());
            self.old = Some(old);
        }
        self.child_is_ready(now);
    }

    fn next_is_dead(&mut self, next: Next, death: &Death, now: Instant) {
        let generation = next.process.generation();
        self.leads_no_more(generation);
        if self.asked.is_some() {
            return self.note_end(&next.process, death);
        }
        if next.stage == Stage::Leaving {
            tracing::debug!("child {generation} {}", death.how);
            return;
        }
        if death.is_crash() {
            self.record(death, now);
        }
        self.drop_recycle(next.wanted, &format!("child {generation} {}", death.how), now);
    }

    /// Says why nothing came of a recycle. What a child asked for is tried again later; an administrator reads the log.
    fn drop_recycle(&mut self, wanted: Wanted, reason: &str, now: Instant) {
        let who = self.child.as_ref().map_or(0, Process::generation);
        tracing::error!("the recycle ({}) is dropped and child {who} goes on: {reason}", wanted.reason);
        if !wanted.by_administrator {
            let wait = self.pace.dropped(now);
            tracing::warn!("a fresh child is tried again in {} s", wait.as_secs());
            self.wanted.get_or_insert(Wanted { due: now + wait, ..wanted });
        }
    }

    /// The child that served is dead. If the next one can take its place, it does.
    ///
    /// It cannot when something was decided that it does not know, such as a quarantine.
    pub(super) fn next_in_line(&mut self, decided: bool, now: Instant) -> bool {
        if let Some(inquiry) = self.inquiry.take() {
            self.wanted.get_or_insert(inquiry.wanted);
        }
        // The child that asked is gone.
        self.wanted.take_if(|wanted| !wanted.by_administrator);
        let Some(next) = self.next.take() else { return false };
        let generation = next.process.generation();
        if decided || next.stage == Stage::Leaving {
            if next.stage != Stage::Leaving {
                tracing::warn!("child {generation}, which was to take over, does not know that and is ended");
            }
            self.leads_no_more(generation);
            return false;
        }
        tracing::warn!("child {generation}, which was to take over, does so now");
        self.due = now;
        self.plan_before = Some(self.plan.clone());
        self.adopt(next.plan);
        self.child = Some(next.process);
        true
    }

    /// Reads what the child says that finishes, and sees whether it is dead.
    pub(super) fn heed_old(&mut self, now: Instant) -> Result<(), SupervisorError> {
        let Some(old) = &mut self.old else { return Ok(()) };
        let (said, death) = old.hear(now)?;
        let generation = old.generation();
        for (message, _) in said {
            match message {
                ToParent::Closed {} => self.leads_no_more(generation),
                ToParent::Lifted { instance } => self.ledger.lifted(&instance),
                _ => {}
            }
        }
        let Some((death, old)) = death.and_then(|death| Some((death, self.old.take()?))) else { return Ok(()) };
        self.leads_no_more(generation);
        if self.asked.is_some() {
            self.note_end(&old, &death);
        } else if death.code == Some(0) {
            tracing::info!("child {generation} has finished");
        } else {
            tracing::error!("child {generation} (process {}) {} while it was to finish", old.id(), death.how);
            if death.is_crash() {
                self.record(&death, now);
            }
        }
        Ok(())
    }

    /// Counts a crash. Answers whether something was decided because of it.
    pub(super) fn record(&mut self, death: &Death, now: Instant) -> bool {
        let culprit = Culprit::of(death.fault.as_ref());
        let decision = self.ledger.record(&culprit, &death.how, now);
        if let (Culprit::Library(library), false) = (&culprit, death.was_ready) {
            self.ledger.refuse(library, &death.how);
        }
        if let Some(sentence) = &decision {
            tracing::error!("{sentence}");
        }
        decision.is_some()
    }

    /// A child resigned or is dead.
    pub(super) fn leads_no_more(&mut self, generation: u64) {
        if matches!(self.leader, Leader::Leads(leader) | Leader::Resigns(leader) if leader == generation) {
            self.leader = Leader::Nobody;
        }
    }

    /// Gives the token to the child that serves, if nobody has it, and lets a child that waits for that take over first.
    pub(super) fn pass_token(&mut self, now: Instant) {
        if self.leader != Leader::Nobody {
            return;
        }
        match &mut self.next {
            Some(next) if next.stage == Stage::Waiting => {
                (next.stage, next.since) = (Stage::TakingOver, now);
                next.process.tell(&ToChild::TakeOver {});
            }
            // If it dies, the child that serves goes on.
            Some(next) if next.stage == Stage::TakingOver => {}
            _ => {
                let Some(child) = &self.child else { return };
                child.tell(&ToChild::Lead {});
                tracing::debug!("child {} leads", child.generation());
                self.leader = Leader::Leads(child.generation());
            }
        }
    }

    /// When something is given up unless it happens before; see [`Supervisor::give_up`].
    pub(super) fn patience(&self) -> Option<Instant> {
        let inquiry = self.inquiry.as_ref().map(|inquiry| inquiry.since + ANSWER_MAX);
        let next = self.next.as_ref().and_then(|next| {
            let limits = &next.plan.config.limits;
            let waits = matches!(next.stage, Stage::Waiting | Stage::TakingOver) && !next.process.is_killed();
            // The leader's work that is waited for, or what is to be caught up with, may be an `init`.
            waits.then(|| next.since + Duration::from_millis(limits.lifecycle_deadline_ms) + ANSWER_MAX)
        });
        inquiry.into_iter().chain(next).min()
    }

    /// Drops a recycle in which somebody lets others wait for too long.
    pub(super) fn give_up(&mut self, now: Instant) {
        if self.patience().is_none_or(|until| until > now) {
            return;
        }
        if let Some(Inquiry { wanted, .. }) = self.inquiry.take() {
            self.drop_recycle(wanted, "the child does not say which instances run", now);
        }
        if let Some(next) = &mut self.next {
            next.process.kill(match next.stage {
                Stage::Waiting => "was killed, because the other one did not resign in time",
                _ => "did not accept in time and was killed",
            });
        }
    }

    /// The server is to stop: a child that has not taken over yet is not waited for.
    pub(super) fn stop_recycle(&mut self, now: Instant) {
        self.wanted = None;
        self.inquiry = None;
        if let Some(mut next) = self.next.take_if(|next| next.stage == Stage::TakingOver) {
            next.process.drain(now);
            next.plan.listening = Listening::none();
            self.next = Some(next);
        } else if let Some(next) = self.next.take() {
            self.leads_no_more(next.process.generation());
        }
    }
}

/// How long a child may take to answer a question.
const ANSWER_MAX: Duration = Duration::from_secs(10);
