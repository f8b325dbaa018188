/** Everything that comes from a customer goes through here. */
function escapeHtml(text) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return String(text).replace(/[&<>"']/g, character => entities[character])
}

function page(title, body, head = '') {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; color: #222 }
  input { font: inherit; padding: .4rem .6rem; width: 20rem; max-width: 60% }
  button { font: inherit; padding: .4rem .9rem }
  li { margin: .4rem 0 } li form { display: inline } .closed { color: #888; text-decoration: line-through }
  .error { color: #b00020 }
</style>
${head}
<h1>${escapeHtml(title)}</h1>
${body}
</html>`
}

export function frontPage(error) {
  return page(
    'Issue tracker',
    `<p>One database per customer. Sign up and get yours.</p>
<form method="post" action="/sign-up">
  <input name="name" placeholder="Your company" required maxlength="100" autofocus> <button>Sign up</button>
</form>
${error ? `<p class="error">${escapeHtml(error)}</p>` : ''}`,
  )
}

export function waitingPage() {
  return page('One moment', '<p>Your database is being made.</p>', '<meta http-equiv="refresh" content="1">')
}

export function messagePage(message) {
  return page('Issue tracker', `<p>${escapeHtml(message)}</p>`)
}

export function issuesPage(tenant, issues) {
  const items = issues.map(({ id, title, closed }) =>
    closed
      ? `<li class="closed">${escapeHtml(title)}</li>`
      : `<li>${escapeHtml(title)} <form method="post" action="/issues/${id}/close"><button>Close</button></form></li>`,
  )
  return page(
    tenant.name,
    `<form method="post" action="/issues">
  <input name="title" placeholder="What is wrong?" required maxlength="200"> <button>Add</button>
</form>
<ul>
${items.join('\n') || '<li>No issues yet.</li>'}
</ul>`,
  )
}
