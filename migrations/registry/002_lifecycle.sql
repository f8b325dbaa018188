-- Suspended, dropped but kept, with a new password on its way: what must be known of a tenant between two steps.

ALTER TABLE tenantctl.tenants
  -- What it was before a drop began, and what it was called before it got the names of a tombstone.
  ADD COLUMN former_status      text CHECK (former_status IN ('provisioning', 'active', 'suspended', 'failed')),
  ADD COLUMN former_db_name     text CHECK (octet_length(former_db_name) BETWEEN 1 AND 63),
  ADD COLUMN former_db_username text CHECK (octet_length(former_db_username) BETWEEN 1 AND 63),
  ADD COLUMN dropped_at         timestamptz,
  -- While a rotation is under way, one of the two is the password that the server knows.
  ADD COLUMN db_password_next       text CHECK (db_password_next ~ '^v1\.[0-9a-z_-]{1,64}\.[A-Za-z0-9+/_=-]{40,}$'),
  ADD COLUMN migrator_password_next text CHECK (migrator_password_next ~ '^v1\.[0-9a-z_-]{1,64}\.[A-Za-z0-9+/_=-]{40,}$'),
  ADD CHECK (retained_until IS NULL OR num_nulls(former_status, former_db_name, former_db_username, dropped_at) = 0);

CREATE INDEX tenants_retained_idx ON tenantctl.tenants (retained_until) WHERE retained_until IS NOT NULL;

-- Applications that hold pools listen to this: a tenant's row is not what it was, so read it again.
CREATE FUNCTION tenantctl.tell_of_tenant() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_catalog.pg_notify('tenantctl_tenants', COALESCE(NEW.uuid, OLD.uuid)::text);
  RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenantctl.tell_of_tenant() FROM PUBLIC;

CREATE TRIGGER tell_of_tenant AFTER INSERT OR UPDATE OR DELETE ON tenantctl.tenants
  FOR EACH ROW EXECUTE FUNCTION tenantctl.tell_of_tenant();
