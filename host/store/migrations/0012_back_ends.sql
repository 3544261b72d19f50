-- The house's own database is the first back end, of people and of applications. It can be deleted as any other, so it is
-- made once, here.
INSERT INTO instance (id, kind, module, name, display_name, parameters, enabled, grants, allow_public, declared,
    quarantine, created_at, updated_at)
VALUES
    ('00000000-0000-7000-8000-000000000001', 'user', 'database', 'database', 'Database', '{}', 1, NULL, 0, 0, NULL, 0, 0),
    ('00000000-0000-7000-8000-000000000002', 'client', 'database', 'database', 'Database', '{}', 1, NULL, 0, 0, NULL, 0, 0);
