//! The table `client_grant` from the side of a person. What one application was granted is in `super::clients`.

use super::{Db, StoreError, values};

/// Client ids with the scopes that a person granted them, both in order.
///
/// # Errors
/// [`StoreError`].
pub async fn of_user(db: &Db, user_id: &str) -> Result<Vec<(String, Vec<String>)>, StoreError> {
    let mut grants: Vec<(String, Vec<String>)> = Vec::new();
    for mut row in db.read(OF_USER, values![user_id]).await? {
        let (client_id, scope): (String, String) = (row.take(0)?, row.take(1)?);
        match grants.last_mut() {
            Some((last, scopes)) if *last == client_id => scopes.push(scope),
            _ => grants.push((client_id, vec![scope])),
        }
    }
    Ok(grants)
}

const OF_USER: &str = "SELECT identity.client_id, client_grant.scope FROM client_grant \
    JOIN client_identity AS identity ON identity.id = client_grant.client_key \
    WHERE client_grant.user_id = $1 ORDER BY identity.client_id, client_grant.scope";
