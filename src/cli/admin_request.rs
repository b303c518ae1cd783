//! A request to the running octroi, and its outcome for people and programs.

use std::{path::Path, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    control::{Client, Refused, TIMEOUT},
    output::{Exit, Output, OutputFormat},
};
use crate::model::{Clock, SystemClock};

/// How often a request is repeated when the process handed over before its turn: by then its successor
/// listens at the control socket. More upgrades than this within one request are unlikely, and each
/// successor reads the files anyway.
const AGAIN: usize = 2;

/// The least time for an answer, so that the process that serves is asked at all.
const LEAST: Duration = Duration::from_secs(1);

/// A request, and the message that follows a refusal.
pub(super) struct AdminRequest<'a, W> {
    /// The path in the admin API.
    pub(super) path: &'a str,
    /// The body.
    pub(super) wish: W,
    /// The line printed after a refusal: nothing has changed.
    pub(super) unchanged: &'static str,
}

impl<W: Serialize> AdminRequest<'_, W> {
    /// Sends the request and waits. Exit 0: it was done. Exit 1: nothing has changed; the message says why.
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
                    // The successor knows what is in force.
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

    /// Sends the request, and repeats it if the process handed over before its turn, all within one
    /// deadline.
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
