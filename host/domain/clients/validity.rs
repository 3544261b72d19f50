//! For what an application would be refused, without writing anything.

use super::{ClientDetails, ClientSecrets, Clients, Found, Kept, Nobody, PutClientError, errors, read_only};
use crate::domain::StoreError;

impl Clients {
    /// All for which [`add_to`](Self::add_to) or, when it is not `new`, [`set`](Self::set) would refuse an application, but
    /// what a back end outside of the house has against it; `None` means that there is none to set.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn errors_to_put(
        &self,
        source: Option<&str>,
        details: &ClientDetails,
        secrets: &ClientSecrets,
        new: bool,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let mut errors = errors(details, secrets);
        let found = self.find(&self.back_ends.clients(), &details.client_id).await?;
        match found {
            Found::Nobody(Nobody { failure: Some(failure), .. }) => return Err(failure),
            Found::Nobody(_) if !new => return Ok(None),
            Found::Nobody(_) => errors.extend(self.back_ends.clients().target(source).err()),
            _ if new => {
                let taken = PutClientError::IdTaken { client_id: details.client_id.clone() };
                errors.push(format!("client_id: {taken}"));
            }
            Found::Own { readonly: true, row } => errors.push(read_only(&row.back_end)),
            Found::Kept(Kept { readonly: true, client, .. }) => errors.push(read_only(&client.source)),
            Found::Own { .. } | Found::Kept(_) => {}
        }
        match self.check_scopes(&details.scopes).await {
            Err(PutClientError::Store(error)) => return Err(error),
            Err(PutClientError::Invalid(missing)) => errors.extend(missing),
            Err(other) => errors.push(other.to_string()),
            Ok(()) => {}
        }
        Ok(Some(errors))
    }
}
