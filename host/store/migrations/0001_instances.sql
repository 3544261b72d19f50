-- Running or stopped instances of modules. `id` is what everything else refers to.
CREATE TABLE instance (
    id {key} NOT NULL PRIMARY KEY,
    kind {key} NOT NULL,
    module {key} NOT NULL,
    name {key} NOT NULL,
    display_name TEXT NOT NULL,
    -- A JSON object.
    parameters TEXT NOT NULL,
    enabled {integer} NOT NULL,
    -- A JSON list of rights; null means all that the module needs.
    grants TEXT,
    allow_public {integer} NOT NULL,
    -- Whether the configuration file declares it.
    declared {integer} NOT NULL,
    -- Why the instance was taken out; null means that it was not.
    quarantine TEXT,
    created_at {integer} NOT NULL,
    updated_at {integer} NOT NULL,
    UNIQUE (kind, name)
){table};

-- Keys of programs that administer. Only hashes, so that a copy of the database opens nothing.
CREATE TABLE api_key (
    id {key} NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    -- SHA-256 of the key.
    token_hash {blob} NOT NULL UNIQUE,
    created_at {integer} NOT NULL,
    last_used_at {integer},
    use_count {integer} NOT NULL
){table};
