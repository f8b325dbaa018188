-- Domains of the customers' own, under which an application is reached: whoever asks for one is its tenant's visitor.

CREATE TABLE tenantctl.domains (
  -- As in DNS: lower case, punycode, no dot at the end. An address of one tenant alone.
  domain      text PRIMARY KEY
              CHECK (domain ~ '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' AND length(domain) <= 253),
  tenant_uuid uuid NOT NULL REFERENCES tenantctl.tenants (uuid) ON DELETE CASCADE,
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX domains_tenant_idx ON tenantctl.domains (tenant_uuid);

-- The same channel as for the tenants themselves: what is known about the tenant is not right any more.
CREATE FUNCTION tenantctl.tell_of_domain() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    PERFORM pg_catalog.pg_notify('tenantctl_tenants', OLD.tenant_uuid::text);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    PERFORM pg_catalog.pg_notify('tenantctl_tenants', NEW.tenant_uuid::text);
  END IF;
  RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION tenantctl.tell_of_domain() FROM PUBLIC;

CREATE TRIGGER tell_of_domain AFTER INSERT OR UPDATE OR DELETE ON tenantctl.domains
  FOR EACH ROW EXECUTE FUNCTION tenantctl.tell_of_domain();
