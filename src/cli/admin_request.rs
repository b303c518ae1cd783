//! A request to the running octroi: what came of it, told to people and programs.

use std::{path::Path, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    control::{Client, Refused, TIMEOUT},
    output::{Exit, Output, OutputFormat},
};
use crate::model::{Clock, SystemClock};

/// How often an order that came to a process which handed over before its turn is given again: at the control
/// socket somebody else listens by then. Who upgrades more often than that meanwhile has his files read by
/// each of them.
const AGAIN: usize = 2;

/// The least that is left of the time for an answer, so that whoever serves is asked at all.
const LEAST: Duration = Duration::from_secs(1);

/// What to ask for, and what to say then.
pub(super) struct AdminRequest<'a, W> {
    /// Where in the admin API it stands.
    pub(super) path: &'a str,
    /// What is sent.
    pub(super) wish: W,
    /// What is said below a refusal: that nothing has changed.
    pub(super) unchanged: &'static str,
}

impl<W: Serialize> AdminRequest<'_, W> {
    /// Sends the request and waits. Exit 0 says that it was done; 1 that nothing has changed, and why.
    pub(super) fn send<T: Serialize + DeserializeOwned>(
        &self,
        socket: &Path,
        form: OutputFormat,
        output: &mut Output<'_>,
        done: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<Exit> {
        match self.ask(socket, &SystemClock::new())? {
            Ok(outcome) => {
                output.data(form, &outcome, || done(&outcome))?;
                Ok(Exit::Fine)
            }
            Err(refused) => {
                if form == OutputFormat::Json {
                    output.json(&refused.body)?;
                } else {
                    output.say(&refused.body.error.message);
                    // What is in force then, that one says.
                    output.say(if refused.is_handed_over() {
                        "`octroi status` says what is in force"
                    } else {
                        self.unchanged
                    });
                }
                Ok(Exit::Problem)
            }
        }
    }

    /// Gives the order; again where the process that took it has handed over before its turn, and all of it
    /// within one deadline.
    fn ask<T: DeserializeOwned>(
        &self,
        socket: &Path,
        clock: &impl Clock,
    ) -> anyhow::Result<Result<T, Refused>> {
        let began = clock.tick();
        let mut left = AGAIN;
        loop {
            let timeout = TIMEOUT.saturating_sub(clock.tick().since(began)).max(LEAST);
            let answer = Client::patient(socket.to_owned())
                .within(timeout)
                .post(self.path, &self.wish)?
                .read::<T>()?;
            match &answer {
                Err(refused) if refused.is_handed_over() && left > 0 => left -= 1,
                Ok(_) | Err(_) => return Ok(answer),
            }
        }
    }
}
