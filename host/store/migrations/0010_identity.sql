-- People, whichever back end knows them. `id` is what everything else refers to; it goes with the person.
CREATE TABLE user_identity (
    id {key} NOT NULL PRIMARY KEY,
    -- Normalised.
    username {key} NOT NULL UNIQUE,
    -- What the name looks like (UTS #39, section 4): names that look alike have the same.
    skeleton {key} NOT NULL,
    -- The name of the back end's instance.
    back_end {key} NOT NULL,
    created_at {integer} NOT NULL
){table};

CREATE INDEX user_identity_skeleton ON user_identity (skeleton);

-- What the back end `database` knows of its people.
CREATE TABLE user_record (
    user_id {key} NOT NULL PRIMARY KEY REFERENCES user_identity (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    enabled {integer} NOT NULL,
    -- An Argon2id hash in PHC form; null means that no password opens.
    password_hash TEXT,
    -- What a pattern is looked for in, folded.
    search TEXT NOT NULL,
    updated_at {integer} NOT NULL
){table};

CREATE TABLE user_property (
    user_id {key} NOT NULL REFERENCES user_record (user_id) ON DELETE CASCADE,
    name {key} NOT NULL,
    -- JSON.
    value TEXT NOT NULL,
    PRIMARY KEY (user_id, name)
){table};

CREATE TABLE scope (
    name {key} NOT NULL PRIMARY KEY,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    password_required {integer} NOT NULL,
    -- How old a proof of the password may be, in seconds; 0 means any age.
    password_max_age_s {integer} NOT NULL,
    search TEXT NOT NULL
){table};

-- Of each group of a scope, so many schemes must be proved.
CREATE TABLE scope_group (
    scope {key} NOT NULL REFERENCES scope (name) ON DELETE CASCADE,
    name {key} NOT NULL,
    required {integer} NOT NULL,
    PRIMARY KEY (scope, name)
){table};

CREATE TABLE scope_scheme (
    scope {key} NOT NULL,
    group_name {key} NOT NULL,
    -- The name of the scheme's instance.
    scheme {key} NOT NULL,
    -- The place in the group, counted from 0.
    place {integer} NOT NULL,
    PRIMARY KEY (scope, group_name, scheme),
    FOREIGN KEY (scope, group_name) REFERENCES scope_group (scope, name) ON DELETE CASCADE
){table};

CREATE TABLE user_scope (
    user_id {key} NOT NULL REFERENCES user_record (user_id) ON DELETE CASCADE,
    scope {key} NOT NULL REFERENCES scope (name) ON DELETE CASCADE,
    place {integer} NOT NULL,
    PRIMARY KEY (user_id, scope)
){table};

CREATE INDEX user_scope_scope ON user_scope (scope);

-- Applications, whichever back end knows them.
CREATE TABLE client_identity (
    id {key} NOT NULL PRIMARY KEY,
    client_id {key} NOT NULL UNIQUE,
    back_end {key} NOT NULL,
    created_at {integer} NOT NULL
){table};

-- What the back end `database` knows of its applications. The columns named after lists hold JSON lists of texts.
CREATE TABLE client_record (
    client_key {key} NOT NULL PRIMARY KEY REFERENCES client_identity (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    confidential {integer} NOT NULL,
    enabled {integer} NOT NULL,
    password_hash TEXT,
    -- `sha256:` and hexadecimal digits for what a program made, else an Argon2id hash in PHC form.
    secret_hash TEXT,
    authorization_types TEXT NOT NULL,
    redirect_uris TEXT NOT NULL,
    -- A JSON object.
    properties TEXT NOT NULL,
    search TEXT NOT NULL,
    updated_at {integer} NOT NULL
){table};

CREATE TABLE client_scope (
    client_key {key} NOT NULL REFERENCES client_record (client_key) ON DELETE CASCADE,
    scope {key} NOT NULL REFERENCES scope (name) ON DELETE CASCADE,
    place {integer} NOT NULL,
    PRIMARY KEY (client_key, scope)
){table};

CREATE INDEX client_scope_scope ON client_scope (scope);

-- Which scopes a person granted to an application.
CREATE TABLE client_grant (
    user_id {key} NOT NULL REFERENCES user_identity (id) ON DELETE CASCADE,
    client_key {key} NOT NULL REFERENCES client_identity (id) ON DELETE CASCADE,
    scope {key} NOT NULL REFERENCES scope (name) ON DELETE CASCADE,
    granted_at {integer} NOT NULL,
    PRIMARY KEY (user_id, client_key, scope)
){table};

CREATE INDEX client_grant_client ON client_grant (client_key);
CREATE INDEX client_grant_scope ON client_grant (scope);

-- Log-in sessions. Only hashes of their ids, so that a copy of the database opens nothing.
CREATE TABLE login_session (
    id {key} NOT NULL PRIMARY KEY,
    -- SHA-256 of what the cookie holds.
    cookie_hash {blob} NOT NULL UNIQUE,
    user_agent TEXT NOT NULL,
    peer TEXT NOT NULL,
    created_at {integer} NOT NULL,
    expires_at {integer} NOT NULL
){table};

CREATE INDEX login_session_expires_at ON login_session (expires_at);

CREATE TABLE login_session_user (
    session_id {key} NOT NULL REFERENCES login_session (id) ON DELETE CASCADE,
    user_id {key} NOT NULL REFERENCES user_identity (id) ON DELETE CASCADE,
    -- Counts up in a session; the highest is the current user's.
    chosen {integer} NOT NULL,
    PRIMARY KEY (session_id, user_id)
){table};

CREATE INDEX login_session_user_user ON login_session_user (user_id);

-- The newest proof of each kind: it is never worth less than those before it.
CREATE TABLE login_proof (
    session_id {key} NOT NULL,
    user_id {key} NOT NULL,
    -- The name of the scheme's instance; empty for the password.
    scheme {key} NOT NULL,
    proved_at {integer} NOT NULL,
    use_count {integer} NOT NULL,
    PRIMARY KEY (session_id, user_id, scheme),
    FOREIGN KEY (session_id, user_id) REFERENCES login_session_user (session_id, user_id) ON DELETE CASCADE
){table};

-- Failed log-ins, by name and by peer.
CREATE TABLE login_failure (
    -- SHA-256 of what the failures are counted for: a name or an address, which need not exist.
    subject {blob} NOT NULL PRIMARY KEY,
    failures {integer} NOT NULL,
    locked_until {integer} NOT NULL,
    -- When the row says nothing any more.
    expires_at {integer} NOT NULL
){table};

CREATE INDEX login_failure_expires_at ON login_failure (expires_at);
