//! A broker that forgets everything and begins anew.

use super::{ImportError, Initial, Vhosts};

impl Vhosts {
    /// Deletes all virtual hosts, users and parameters, and makes what a new broker has. What is read meanwhile may
    /// be any part of it.
    ///
    /// rabbitmq: `reset` of a node whose application is stopped.
    ///
    /// # Errors
    /// When it could not be kept; then some of it may be there still.
    pub(crate) async fn reset(&self, initial: Initial<'_>) -> Result<(), ImportError> {
        let names = self.write_registry(|registry| {
            registry.unprotect();
            registry.vhosts().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        })?;
        for name in names {
            self.delete_vhost(&name).await?;
        }
        self.write_registry(|registry| {
            registry.forget();
            registry.add_first_objects(true, initial);
        })?;
        match initial.definitions {
            Some(definitions) => self.import(definitions),
            None => Ok(()),
        }
    }
}
