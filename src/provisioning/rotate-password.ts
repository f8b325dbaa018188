import { TenancyError } from '../errors.ts'
import { withClient } from '../postgres/connect.ts'
import { setRolePassword } from '../postgres/roles.ts'
import { scramVerifier } from '../postgres/scram.ts'
import { overrule } from '../postgres/sessions.ts'
import { sqlstate, sqlstateOf } from '../postgres/sqlstate.ts'
import { loginRoles, rolesOf } from '../registry/roles.ts'
import type { Tenant } from '../registry/tenant.ts'
import { loginsOf, type Passwords } from '../registry/tenant-passwords.ts'
import type { TenantLogin } from '../registry/tenant-registry.ts'
import { generatePassword } from '../secrets/password.ts'
import type { Secret } from '../secrets/secret.ts'
import { closeTenant, endTenantSessions, openTenant, requirePresent } from './access.ts'
import type { RunOptions } from './create.ts'
import { runOperation } from './operation.ts'
import type { ProvisioningParts } from './parts.ts'
import { applySteps, type ProvisioningStep, type StepContext } from './step.ts'
import { refuseHalfMade } from './suspend.ts'

interface RotateOptions extends RunOptions {
  /** Leave open sessions alone: they logged in with the old password. Default: false, they are ended. */
  keepSessions?: boolean | undefined
}

/**
 * Gives a tenant's logins new passwords. Those are in the registry before the server gets them, and the old ones stay
 * there until the new ones have been seen to work: at every instant one of the two that are written down is the one that
 * the server knows. A rotation that was cut off is finished with the passwords that it had chosen.
 */
export async function rotatePassword(parts: ProvisioningParts, tenant: Tenant, options: RotateOptions): Promise<void> {
  const parameters = { keepSessions: options.keepSessions ?? false }
  await runOperation(parts, 'rotate-password', tenant, { ...options, parameters }, async context => {
    refuseHalfMade(context.tenant)
    await requirePresent(context)
    await applySteps(rotationSteps(options.keepSessions ?? false), context)
    await parts.journal.finish(context.operationId)
  })
}

/** A rotation is not undone: whoever wants the old password does not know it any more. */
function rotationSteps(keepSessions: boolean): readonly ProvisioningStep[] {
  const forwards = { isDone: async () => false, undo: async () => undefined }
  return [
    {
      ...forwards,
      name: 'choosePassword',
      isDone: async ({ parts, tenant }) => (await parts.passwords.pending(tenant)) !== undefined,
      apply: ({ parts, tenant }) =>
        parts.passwords.propose(tenant, new Map(loginsOf(tenant).map(login => [login, generatePassword()]))),
    },
    { ...forwards, name: 'changeRole', apply: context => changeRoles(context, keepSessions) },
    // Before the new password is tried: whoever is in could set one of his own after.
    { ...forwards, name: 'endSessions', isDone: async () => keepSessions, apply: endTenantSessions },
    { ...forwards, name: 'verify', apply: context => verify(context, keepSessions) },
    { ...forwards, name: 'promotePassword', apply: ({ parts, tenant }) => parts.passwords.promote(tenant.id) },
  ]
}

async function changeRoles(context: StepContext, keepSessions: boolean): Promise<void> {
  const { admin, adminFacts, tenant } = context
  const change = () =>
    forEachLogin(context, async (login, password) => {
      await setRolePassword(admin, adminFacts, rolesOf(tenant)[login], await scramVerifier(password))
    })
  if (keepSessions) await change()
  else await overrule(admin, adminFacts, loginRoles(tenant), change)
}

/** The role may not log in; its database takes no connections. */
const shutOut: string[] = ['28000', '55000']
/** Whoever set a password of his own while his sessions were being ended comes back with it, as often as he can. */
const resisted: string[] = [...shutOut, sqlstate.invalidPassword, sqlstate.tooManyConnections]

/** Logs in. Where that fails, once more with the door shut while the password changes: also for who died doing so. */
async function verify(context: StepContext, keepSessions: boolean): Promise<void> {
  try {
    await forEachLogin(context, (login, password) => logIn(context, login, password))
  } catch (error) {
    if (keepSessions || !resisted.includes(sqlstateOf(error) ?? '')) throw error
    await closeTenant(context, { endSessions: true })
    await changeRoles(context, keepSessions)
    if (context.tenant.status === 'active') await openTenant(context)
    await forEachLogin(context, (login, password) => logIn(context, login, password))
  }
}

async function logIn({ parts, tenant, signal }: StepContext, login: TenantLogin, password: Secret): Promise<void> {
  const username = rolesOf(tenant)[login]
  const address = parts.servers.tenant(tenant, { username, password })
  const doing = `logging in as role "${username}" with its new password`
  await withClient(address, { signal, doing }, async () => undefined).catch(error => {
    // A suspended tenant is turned away after its password was found right (InitializeSessionUserId, CheckMyDatabase).
    if (tenant.status === 'suspended' && shutOut.includes(sqlstateOf(error) ?? '')) return
    throw error
  })
}

async function forEachLogin(
  { parts, tenant }: StepContext,
  work: (login: TenantLogin, password: Secret) => Promise<void>,
): Promise<void> {
  const passwords: Passwords | undefined = await parts.passwords.pending(tenant)
  if (!passwords) {
    throw new TenancyError('DECRYPTION_FAILED', `the new password of tenant "${tenant.slug}" cannot be read back`, {
      tenant: tenant.slug,
      hint: 'the old one is in force; check encryption in the configuration, then run the command again',
    })
  }
  for (const [login, password] of passwords) await work(login, password)
}
