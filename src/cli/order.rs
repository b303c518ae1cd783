//! An order to the running octroi: what came of it, told to people and programs.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    control::{Client, ControlArgs},
    output::{Exit, Form, Output},
};

/// What to ask for, and what to say then.
pub(super) struct Order<'a, W> {
    /// Where in the admin API it stands.
    pub(super) path: &'a str,
    /// What is sent.
    pub(super) wish: W,
    /// What is said below a refusal: that nothing has changed.
    pub(super) unchanged: &'static str,
}

impl<W: Serialize> Order<'_, W> {
    /// Gives the order and waits. Exit 0 says that it was done; 1 that nothing has changed, and why.
    pub(super) fn give<T: Serialize + DeserializeOwned>(
        &self,
        (control, state_dir): (&ControlArgs, &Path),
        form: Form,
        output: &mut Output<'_>,
        done: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<Exit> {
        match Client::new(control.socket(state_dir)).post(self.path, &self.wish)?.read::<T>()? {
            Ok(outcome) => {
                output.data(form, &outcome, || done(&outcome))?;
                Ok(Exit::Fine)
            }
            Err(refused) => {
                if form == Form::Json {
                    output.json(&refused.body)?;
                } else {
                    output.say(&refused.body.error.message);
                    output.say(self.unchanged);
                }
                Ok(Exit::Problem)
            }
        }
    }
}
