describe('price <format>', () => {
  test('groups thousands & rounds', () => {
    console.log('formatting 1234.5');
    expect((1234.5).toLocaleString('en-US', { minimumFractionDigits: 2 })).toBe('1,234.50');
  });
  test('', () => expect(1).toBe(1));
  test('TC1006: shows "from" prices', () => { throw new TypeError("Cannot read properties of undefined (reading 'from')"); });
  test('keeps   blanks ', () => expect(2).toBe(2));
});
