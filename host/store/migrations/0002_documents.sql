-- All documents of an instance. Made before the instance is stored, since its `init` may write documents already.
CREATE TABLE document_set (
    -- The instance's id.
    id {key} NOT NULL PRIMARY KEY,
    -- The same as soon as the instance is stored. When that goes, the set goes, and its documents with it.
    instance_id {key} UNIQUE REFERENCES instance (id) ON DELETE CASCADE,
    -- Up to which of its module's migrations the documents were brought.
    version {integer} NOT NULL,
    -- Counts changes of `version`, `indexes` and `building`: who knows an older form writes nothing.
    form {integer} NOT NULL,
    -- A JSON object: the index fields of each collection.
    indexes TEXT NOT NULL,
    -- Likewise: index fields that are written already but do not know all documents yet.
    building TEXT NOT NULL,
    -- Who changes the form now, until when unless it says so again; null means nobody.
    lease_holder {key},
    lease_until {integer},
    created_at {integer} NOT NULL
){table};

-- What plug-ins keep.
CREATE TABLE document (
    instance_id {key} NOT NULL REFERENCES document_set (id) ON DELETE CASCADE,
    collection {key} NOT NULL,
    key {key} NOT NULL,
    -- Differs with every write of the key, also after it was deleted.
    version {integer} NOT NULL,
    -- From then on it is not there any more; null means that it stays.
    expires_at {integer},
    -- When it was consumed; null means that it was not.
    used_at {integer},
    -- The user that it goes with.
    username {key},
    -- What it counts for in the quota, now and before the last write (0 when that made it).
    bytes {integer} NOT NULL,
    previous_bytes {integer} NOT NULL,
    -- JSON. The last column, so that a count does not read it.
    value TEXT NOT NULL,
    PRIMARY KEY (instance_id, collection, key)
){keyed};

CREATE INDEX document_expires_at ON document (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX document_username ON document (username) WHERE username IS NOT NULL;

-- The values of index fields, written with their documents.
CREATE TABLE document_index (
    instance_id {key} NOT NULL,
    collection {key} NOT NULL,
    key {key} NOT NULL,
    field {key} NOT NULL,
    -- In a form whose order by bytes is the order of the values.
    value {key} NOT NULL,
    PRIMARY KEY (instance_id, collection, key, field),
    FOREIGN KEY (instance_id, collection, key) REFERENCES document (instance_id, collection, key) ON DELETE CASCADE
){keyed};

CREATE INDEX document_index_value ON document_index (instance_id, collection, field, value, key);
