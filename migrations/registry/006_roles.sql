-- `roles: 'separate'`: an owner without login, a migrator, and the role of db_username, which may only read and write
-- rows. Names of the first two follow from db_username; the migrator has a password of its own.

ALTER TABLE tenantctl.tenants
  ADD COLUMN roles text NOT NULL DEFAULT 'single' CHECK (roles IN ('single', 'separate')),
  ADD COLUMN migrator_password text CHECK (migrator_password ~ '^v1\.[0-9a-z_-]{1,64}\.[A-Za-z0-9+/_=-]{40,}$'),
  ADD CHECK ((roles = 'separate') = (migrator_password IS NOT NULL));
