-- Safe to run again: what is there stays as it is.

INSERT INTO users (email, name) VALUES
  ('ada@example.com', 'Ada Lovelace'),
  ('grace@example.com', 'Grace Hopper'),
  ('edsger@example.com', 'Edsger Dijkstra')
ON CONFLICT DO NOTHING;

INSERT INTO projects (key, name, owner_id)
SELECT 'WEB', 'Website', id FROM users WHERE email = 'ada@example.com'
ON CONFLICT DO NOTHING;

INSERT INTO labels (project_id, name)
SELECT id, label FROM projects, unnest(ARRAY['bug', 'question']) AS label WHERE key = 'WEB'
ON CONFLICT DO NOTHING;

INSERT INTO issues (project_id, number, title, reporter_id, assignee_id)
SELECT p.id, i.number, i.title, reporter.id, assignee.id
  FROM projects p,
       (VALUES (1, 'Search finds nothing with an umlaut', 'grace@example.com', 'ada@example.com'),
               (2, 'Which browsers do we support?', 'edsger@example.com', NULL)) AS i (number, title, reporter, assignee)
       JOIN users reporter ON reporter.email = i.reporter
       LEFT JOIN users assignee ON assignee.email = i.assignee
 WHERE p.key = 'WEB'
ON CONFLICT DO NOTHING;
