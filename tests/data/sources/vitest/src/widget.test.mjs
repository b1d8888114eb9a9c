import { describe, expect, it, test } from 'vitest';

describe('cart widget', () => {
  it('TC1074: shows the number of items', () => expect([1, 2].length).toBe(2));
  it('hides when empty', () => { console.log('\u001b[33mwidget hidden\u001b[0m'); expect(true).toBe(true); });
  it('TC1075: updates after a removal', () => expect({ items: 2, total: '39.80' }).toEqual({ items: 1, total: '19.90' }));
  it.skip('animates', () => {});
  it.todo('is reachable by keyboard');
  describe('badge', () => { test.each([1, 9, 100])('shows %i', (n) => expect(n).toBeGreaterThan(0)); });
});
let tries = 0;
test('loads lazily', { retry: 2 }, () => { tries += 1; expect(tries).toBe(2); });
