const { test, describe, it } = require('node:test');
const assert = require('node:assert');

test('TC1011: rounds half up', () => assert.strictEqual(Math.round(2.5), 3));
test('discount never exceeds the price', () => assert.ok(Math.min(150, 100) <= 100));
test('TC1012: parses the legacy price file', () => {
  throw new Error('unexpected bytes \u001b[31m\u0000\u0001 in line 3');
});
test('loyalty points expire', { todo: 'SHOP-601' }, () => assert.strictEqual(1, 2));
test('TC1013: loads the tax table', { skip: 'no tax table on this runner' }, () => {});

describe('bundles', () => {
  it('TC1014: three for two', () => assert.strictEqual(3 - 1, 2));
  it('needs one brand', () => assert.deepStrictEqual({ brand: 'a' }, { brand: 'b' }));
  describe('nested offers', () => {
    it('takes the best offer', () => assert.ok(true));
  });
});
