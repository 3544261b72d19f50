//! Encrypted connections to PostgreSQL.

use porth::store::Db;

use crate::support::database::NOW_MS;
use crate::support::postgres;

#[tokio::test]
async fn the_url_asks_for_encryption() {
    let Some(url) = postgres::create_database() else { return };
    let certificate = postgres::certificate();
    check(&url, false).await.unwrap();
    check(&format!("{url}&sslmode=disable"), false).await.unwrap();
    check(&format!("{url}&sslmode=prefer"), true).await.unwrap();
    check(&format!("{url}&sslmode=require"), true).await.unwrap();
    check(&format!("{url}&sslmode=verify-full&sslrootcert={}", certificate.display()), true).await.unwrap();

    // The certificate is for the address, not for the name.
    let named = url.replace("127.0.0.1", "localhost");
    let other_name = format!("{named}&sslmode=verify-full&sslrootcert={}", certificate.display());
    let error = check(&other_name, true).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

async fn check(url: &str, encrypted: bool) -> Result<(), String> {
    let data = tempfile::tempdir().unwrap();
    let db = Db::open(url, data.path(), NOW_MS).await.map_err(|error| error.to_string())?;
    let sql = "SELECT CASE WHEN ssl THEN 1 ELSE 0 END FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let mut rows = db.read(sql, vec![]).await.unwrap();
    assert_eq!(rows[0].take::<bool>(0).unwrap(), encrypted, "{url}");
    db.close().await;
    Ok(())
}
