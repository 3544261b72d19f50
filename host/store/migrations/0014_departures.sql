-- People who were deleted and whom not everybody has forgotten yet. Written with the deletion, so that what is left to do
-- survives it.
CREATE TABLE departure (
    -- Normalised.
    username {key} NOT NULL PRIMARY KEY,
    -- The id that the person had.
    user_id {key} NOT NULL,
    -- The keys of the instances that are still to be told, a JSON list; null means that nothing was done yet.
    remains TEXT,
    -- Whether the name may be given to nobody: somebody who runs has not forgotten the one before.
    blocks {integer} NOT NULL,
    departed_at {integer} NOT NULL
){table};
